import { describe, expect, it } from "vitest";
import { env, LXD, port, project } from "../demo/world";
import { Choice } from "./choice.svelte";
import type { ProjectView, View } from "./types.gen";

const main = env("webapp", "main", { image: "ubuntu:24.04", ports: [port(5173)] });
const spike = env("webapp", "spike", { status: "stopped", ports: [port(8000)] });
const bug = env("webapp", "old-bug", { status: "stopped", ports: [] });
const webapp = project("webapp", "/webapp", [main, spike, bug]);
const api = project("api", "/api", [env("api", "dev")]);

function start(...projects: ProjectView[]) {
  let view: View = $state.raw({ engines: [LXD], projects });
  const choice = new Choice(() => view);
  const show = (...shown: ProjectView[]) => {
    view = { engines: [LXD], projects: shown };
  };
  return { choice, show };
}

function names(choice: Choice) {
  return choice.rows.map((row) => row.name);
}

describe("the choice", () => {
  it("is of nothing where nothing is", () => {
    const choice = new Choice(() => null);
    expect([choice.project, choice.env, choice.ref]).toEqual([null, null, null]);
    choice.choose("main");
    choice.move(1);
    expect(choice.env).toBeNull();
  });

  it("begins at the first env of the first project", () => {
    const { choice } = start(webapp, api);
    expect(choice.ref).toEqual({ project_path: "/webapp", env: "main" });
  });

  it("moves, and stops at the ends", () => {
    const { choice } = start(webapp);
    const seen = [1, 1, 1, -1, -9, 9].map((steps) => {
      choice.move(steps);
      return choice.env?.name;
    });
    expect(seen).toEqual(["spike", "old-bug", "old-bug", "spike", "main", "old-bug"]);
  });

  it("is kept for each project", () => {
    const { choice } = start(webapp, api);
    choice.choose("spike");
    choice.chooseProject("/api");
    expect(choice.env?.name).toBe("dev");
    choice.chooseProject("/webapp");
    expect(choice.env?.name).toBe("spike");
  });
});

describe("a choice outlives", () => {
  function atSpike() {
    const { choice, show } = start(webapp, api);
    choice.choose("spike");
    choice.settle();
    return { choice, show };
  }

  it("a reload of its project", () => {
    const { choice, show } = atSpike();
    show(project("webapp", "/webapp", [bug, { ...spike }, main]), api);
    expect(choice.env?.name).toBe("spike");
  });

  it("a project that sorts before its own", () => {
    const { choice, show } = atSpike();
    show(project("aaa", "/aaa"), webapp, api);
    expect(choice.ref).toEqual({ project_path: "/webapp", env: "spike" });
  });

  it("its env by passing on to the one that takes its place", () => {
    const { choice, show } = atSpike();
    show(project("webapp", "/webapp", [main, bug]), api);
    expect(choice.env?.name).toBe("old-bug");
    show(project("webapp", "/webapp", [main]), api);
    expect(choice.env?.name).toBe("main");
  });

  it("its project by passing on to another one", () => {
    const { choice, show } = atSpike();
    show(api);
    expect(choice.ref).toEqual({ project_path: "/api", env: "dev" });
  });
});

describe("the filter", () => {
  it.each([
    ["", ["main", "spike", "old-bug"]],
    ["BUG", ["old-bug"]],
    ["ubuntu", ["main"]],
    ["stopped", ["spike", "old-bug"]],
    ["stopped 8000", ["spike"]],
    ["zebra", []],
  ])("%j lets through %j", (filter, rows) => {
    const { choice } = start(webapp);
    choice.filter = filter;
    expect(names(choice)).toEqual(rows);
  });

  it("chooses the first that it lets through, and gives the choice back when it goes", () => {
    const { choice } = start(webapp);
    choice.choose("main");
    choice.filter = "stopped";
    expect(choice.env?.name).toBe("spike");
    choice.filter = "zebra";
    expect(choice.env).toBeNull();
    choice.filter = "";
    expect(choice.env?.name).toBe("main");
  });

  it("goes with another project", () => {
    const { choice } = start(webapp, api);
    choice.filter = "bug";
    choice.chooseProject("/api");
    expect(choice.filter).toBe("");
  });
});
