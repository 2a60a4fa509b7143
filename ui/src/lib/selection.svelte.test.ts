import { describe, expect, it } from "vitest";
import { env, LXD, port, project } from "../demo/fixtures";
import { Selection } from "./selection.svelte";
import type { ProjectView, View } from "./types.gen";

const main = env("webapp", "main", { image: "ubuntu:24.04", ports: [port(5173)] });
const spike = env("webapp", "spike", { status: "stopped", ports: [port(8000)] });
const bug = env("webapp", "old-bug", { status: "stopped", ports: [] });
const webapp = project("webapp", "/webapp", [main, spike, bug]);
const api = project("api", "/api", [env("api", "dev")]);

function setup(...projects: ProjectView[]) {
  let view: View = $state.raw({ engines: [LXD], projects });
  const selection = new Selection(() => view);
  const show = (...shown: ProjectView[]) => {
    view = { engines: [LXD], projects: shown };
  };
  return { selection, show };
}

describe("selection", () => {
  it("is empty without a view", () => {
    const selection = new Selection(() => null);
    expect([selection.project, selection.env, selection.envRef]).toEqual([null, null, null]);
    selection.selectEnv("main");
    selection.move(1);
    expect(selection.env).toBeNull();
  });

  it("starts at the first env of the first project", () => {
    const { selection } = setup(webapp, api);
    expect(selection.envRef).toEqual({ project_path: "/webapp", env: "main" });
  });

  it("stops at the first and last row", () => {
    const { selection } = setup(webapp);
    const selected = [1, 1, 1, -1, -9, 9].map((steps) => {
      selection.move(steps);
      return selection.env?.name;
    });
    expect(selected).toEqual(["spike", "old-bug", "old-bug", "spike", "main", "old-bug"]);
  });

  it("is remembered per project", () => {
    const { selection } = setup(webapp, api);
    selection.selectEnv("spike");
    selection.selectProject("/api");
    expect(selection.env?.name).toBe("dev");
    selection.selectProject("/webapp");
    expect(selection.env?.name).toBe("spike");
  });
});

describe("selection after a view change", () => {
  function setupAtSpike() {
    const { selection, show } = setup(webapp, api);
    selection.selectEnv("spike");
    selection.pinProject();
    return { selection, show };
  }

  it("keeps the env when its project is reloaded", () => {
    const { selection, show } = setupAtSpike();
    show(project("webapp", "/webapp", [bug, { ...spike }, main]), api);
    expect(selection.env?.name).toBe("spike");
  });

  it("keeps the project when another one is sorted before it", () => {
    const { selection, show } = setupAtSpike();
    show(project("aaa", "/aaa"), webapp, api);
    expect(selection.envRef).toEqual({ project_path: "/webapp", env: "spike" });
  });

  it("moves to the next env when the selected one disappears", () => {
    const { selection, show } = setupAtSpike();
    show(project("webapp", "/webapp", [main, bug]), api);
    expect(selection.env?.name).toBe("old-bug");
    show(project("webapp", "/webapp", [main]), api);
    expect(selection.env?.name).toBe("main");
  });

  it("moves to another project when the selected one disappears", () => {
    const { selection, show } = setupAtSpike();
    show(api);
    expect(selection.envRef).toEqual({ project_path: "/api", env: "dev" });
  });
});

describe("filter", () => {
  it.each([
    ["", ["main", "spike", "old-bug"]],
    ["BUG", ["old-bug"]],
    ["ubuntu", ["main"]],
    ["stopped", ["spike", "old-bug"]],
    ["stopped 8000", ["spike"]],
    ["zebra", []],
  ])("%j matches %j", (filter, names) => {
    const { selection } = setup(webapp);
    selection.filter = filter;
    expect(selection.rows.map((row) => row.name)).toEqual(names);
  });

  it("selects the first match, and restores the selection when cleared", () => {
    const { selection } = setup(webapp);
    selection.selectEnv("main");
    selection.filter = "stopped";
    expect(selection.env?.name).toBe("spike");
    selection.filter = "zebra";
    expect(selection.env).toBeNull();
    selection.filter = "";
    expect(selection.env?.name).toBe("main");
  });

  it("is cleared when another project is selected", () => {
    const { selection } = setup(webapp, api);
    selection.filter = "bug";
    selection.selectProject("/api");
    expect(selection.filter).toBe("");
  });
});
