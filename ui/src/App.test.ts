// @vitest-environment jsdom
import { render, screen, waitFor, within } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";
import App from "./App.svelte";
import { MemoryHost } from "./demo/memory-host";
import { asked, chosen, click, MAIN, open, PATH, press, row, type, webapp } from "./demo/window";
import { day, env, LXD, NO_ENGINES, project } from "./demo/world";

describe("the list", () => {
  it("shows projects with how many run, and the envs of the chosen one", async () => {
    await open(day());
    expect(screen.getByTestId("project-webapp").textContent).toContain("3 of 5 running");
    await click("project-webapp");
    expect(screen.getAllByRole("row")).toHaveLength(5);
    expect(row("old-bug").dataset.status).toBe("stopped");
    expect(row("old-bug").textContent).toContain("stopped · 3 snapshots");
    expect(row("spike").dataset.busy).toBe("restore");
    expect(row("spike").textContent).toMatch(
      /restoring….*setting it back to seeded.*62 % ·.*\d+ s/s,
    );
  });

  it("calls a project without a name by its directory", async () => {
    await open(day());
    expect(screen.getByTestId("project-notes")).toBeTruthy();
  });

  it("says of two projects of one name where each is", async () => {
    await open({ engines: [LXD], projects: [project("a", "/one/a"), project("a", "/two/a")] });
    const labels = screen.getAllByTestId("project-a").map((button) => button.textContent);
    expect(labels[0]).toContain("/one/a");
    expect(labels[1]).toContain("/two/a");
  });

  it("draws a row anew only where its env changed", async () => {
    const host = await open(webapp("main", "spike"));
    const before = row("spike");
    host.change({ project_path: PATH, env: "spike" }, { status: "stopped" });
    await waitFor(() => expect(row("spike").dataset.status).toBe("stopped"));
    expect(row("spike")).toBe(before);
  });

  it("keeps an error in its row until it is dismissed", async () => {
    const host = await open(webapp("main"));
    const problem = {
      kind: "engine",
      message: "no room in `default`",
      hint: "run `prune`",
    } as const;
    host.change(MAIN, { problem });
    const told = await screen.findByTestId("problem-main");
    expect(told.textContent).toMatch(/no room in default.*run prune/s);
    await click("problem-main-dismiss");
    await waitFor(() => expect(screen.queryByTestId("problem-main")).toBeNull());
    expect(host.asked).toEqual([{ action: "dismiss", env: MAIN }]);
  });

  it("shows why a project can't be read", async () => {
    const problem = { kind: "config", message: "line 7", hint: null } as const;
    await open({ engines: [LXD], projects: [{ ...project("a", "/a"), problem }] });
    expect(screen.getByTestId("project-problem").textContent).toContain("line 7");
    expect(screen.queryByTestId("empty-env")).toBeNull();
  });
});

describe("keys", () => {
  it("move the choice, and the focus with it", async () => {
    await open(webapp("main", "spike", "bug"));
    await press("ArrowDown");
    await waitFor(() => expect(document.activeElement).toBe(row("spike")));
    await press("End");
    expect(chosen()).toBe("env-row-bug");
    await press("ArrowUp");
    expect(chosen()).toBe("env-row-spike");
    expect(within(screen.getByTestId("inspector")).getByLabelText("spike")).toBeTruthy();
  });

  it("open a terminal, stop and start", async () => {
    const host = await open(webapp("main"));
    await press("Enter");
    await press(" ");
    await waitFor(() => expect(screen.getByTestId("start")).toBeTruthy());
    await press(" ");
    await waitFor(() => expect(screen.getByTestId("stop")).toBeTruthy());
    expect(asked(host)).toEqual(["terminal", "stop", "start"]);
  });

  it("ask nothing of an env that can't do it", async () => {
    const stopped = env("webapp", "main", { status: "not-found" });
    const host = await open({ engines: [LXD], projects: [project("webapp", PATH, [stopped])] });
    for (const key of ["Enter", " ", "s", "r"]) await press(key);
    expect(host.asked).toEqual([]);
  });

  it("filter, clear the filter, and close the window", async () => {
    const host = await open(webapp("main", "spike"));
    await press("/");
    expect(document.activeElement).toBe(screen.getByTestId("filter"));
    await type("filter", "spi");
    expect(screen.getAllByRole("row")).toHaveLength(1);
    expect(chosen()).toBe("env-row-spike");
    await press("Enter");
    await waitFor(() => expect(document.activeElement).toBe(row("spike")));
    await press("Escape");
    expect(screen.getAllByRole("row")).toHaveLength(2);
    expect(host.closed).toBe(false);
    await press("Escape");
    expect(host.closed).toBe(true);
  });

  it("lead from a filter that matches nothing back to the list", async () => {
    await open(webapp("main"));
    await type("filter", "zebra");
    expect(screen.getByTestId("empty-filter")).toBeTruthy();
    expect(screen.queryByTestId("inspector")).toBeNull();
    screen.getByTestId("filter").focus();
    await press("Escape");
    expect(screen.getAllByRole("row")).toHaveLength(1);
  });

  it("move between projects in their list", async () => {
    await open(day());
    screen.getByTestId("project-api").focus();
    await press("ArrowDown");
    expect(screen.getByTestId("project-notes").getAttribute("aria-current")).toBe("true");
    expect(document.activeElement).toBe(screen.getByTestId("project-notes"));
  });
});

describe("where nothing is", () => {
  it("an engine is missing: the reasons, and what to run", async () => {
    await open({ engines: NO_ENGINES, projects: [] });
    const text = screen.getByTestId("empty-engine").textContent;
    expect(text).toContain("LXD is not reachable at /var/lib/lxd/unix.socket");
    expect(text).toContain("sudo apt install incus");
    expect(text).toContain("sudo incus admin init");
  });

  it("an engine keeps us out: none is to be installed", async () => {
    const problem = { kind: "permission-denied", message: "no permission", hint: null } as const;
    await open({ engines: [{ ...LXD, reachable: false, problem }], projects: [] });
    expect(screen.getByTestId("empty-engine").textContent).not.toContain("apt install");
  });

  it("no project: how to make one", async () => {
    await open({ engines: [LXD], projects: [] });
    expect(screen.getByTestId("empty-project").textContent).toContain("lxc-dev-manager create");
  });

  it("no env: how to create one", async () => {
    await open({ engines: [LXD], projects: [project("webapp", PATH)] });
    expect(screen.getByTestId("empty-env").textContent).toContain(
      "lxc-dev-manager container create dev debian:12",
    );
  });

  it("no answer: why, and another try", async () => {
    const host = new MemoryHost(webapp("main"));
    host.unreachable = { kind: "internal", message: "no answer", hint: "start it again" };
    render(App, { host });
    expect((await screen.findByRole("alert")).textContent).toMatch(/no answer.*start it again/s);
    host.unreachable = null;
    await click("retry");
    expect(await screen.findByTestId("env-row-main")).toBeTruthy();
  });
});

describe("a stop below a terminal session", () => {
  it("is asked about, and done anyway only when told so", async () => {
    const host = await open(webapp("main"));
    host.refusal = {
      kind: "needs-confirmation",
      message: "a terminal session is open in `main`",
      hint: null,
    };
    await click("stop");
    const anyway = await screen.findByTestId("notice-anyway");
    expect(host.asked).toEqual([{ action: "stop", env: MAIN }]);
    expect(row("main").dataset.status).toBe("running");
    anyway.click();
    await waitFor(() => expect(row("main").dataset.status).toBe("stopped"));
    expect(host.asked.at(-1)).toEqual({ action: "stop-anyway", env: MAIN });
  });
});
