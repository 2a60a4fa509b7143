// @vitest-environment jsdom
import { configure, fireEvent, render, screen, waitFor, within } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";
import App from "./App.svelte";
import { MemoryHost } from "./demo/memory-host";
import { day, env, LXD, NO_ENGINES, project, snapshot } from "./demo/world";
import type { Action, View } from "./lib/types.gen";

// A busy machine takes its time.
configure({ asyncUtilTimeout: 5000 });

const PATH = "/home/ada/src/webapp";
const MAIN = { project_path: PATH, env: "main" };

function webapp(...envs: Parameters<typeof env>[1][]): View {
  const all = envs.map((name) => env("webapp", name));
  return { engines: [LXD], projects: [project("webapp", PATH, all)] };
}

async function open(view: View, takes = 0): Promise<MemoryHost> {
  const host = new MemoryHost(view, takes);
  render(App, { host });
  await screen.findByRole("main");
  return host;
}

async function press(key: string, on: Element = document.activeElement ?? document.body) {
  await fireEvent.keyDown(on, { key });
}

async function type(testid: string, value: string) {
  await fireEvent.input(screen.getByTestId(testid), { target: { value } });
}

const click = (testid: string) => fireEvent.click(screen.getByTestId(testid));
const row = (name: string) => screen.getByTestId(`env-row-${name}`);
const chosen = () => screen.getByRole("row", { selected: true }).dataset.testid;
const asked = (host: MemoryHost): Action["action"][] => host.asked.map(({ action }) => action);

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

describe("snapshots", () => {
  it("are taken by name and description from a field in the panel", async () => {
    const host = await open(webapp("main"));
    await press("s");
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("snapshot-name")));
    await type("snapshot-name", "before-upgrade");
    await type("snapshot-description", "all green");
    await click("snapshot-submit");
    await screen.findByTestId("snapshot-before-upgrade");
    expect(screen.queryByTestId("snapshot-name")).toBeNull();
    expect(host.asked).toEqual([
      { action: "snapshot", env: MAIN, name: "before-upgrade", description: "all green" },
    ]);
  });

  it("get their name from the backend where none is given", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    await click("snapshot-submit");
    expect(host.asked).toEqual([{ action: "snapshot", env: MAIN, name: null, description: null }]);
  });

  it("are not asked for by a name that can't be", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    for (const name of ["two words", "initial-state"]) {
      await type("snapshot-name", name);
      expect(screen.getByTestId("snapshot-name").getAttribute("aria-invalid")).toBe("true");
      await click("snapshot-submit");
    }
    expect(host.asked).toEqual([]);
  });

  it("are given up by Escape, which doesn't close the window then", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    await press("Escape", screen.getByTestId("snapshot-name"));
    expect(screen.queryByTestId("snapshot-name")).toBeNull();
    expect(host.closed).toBe(false);
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("take-snapshot")));
  });

  it("stand newest first below what is now", async () => {
    const snapshots = [snapshot("old", 9e8), snapshot("new", 6e4, "all green")];
    const main = env("webapp", "main", { snapshots });
    await open({ engines: [LXD], projects: [project("webapp", PATH, [main])] });
    const entries = screen.getAllByRole("listitem").map((entry) => entry.textContent);
    const [now, newest, oldest] = entries.slice(-3);
    expect(now).toContain("now");
    expect(newest).toMatch(/new.*1 min ago.*all green.*Restore to new/s);
    expect(oldest).toContain("Restore to old");
  });
});

describe("a restore", () => {
  it("asks nothing, says what it did, and can be undone from the bar", async () => {
    const host = await open(webapp("main"));
    await click("restore-initial-state");
    const notice = await screen.findByTestId("notice");
    expect(notice.textContent).toContain("Restored main to initial-state.");
    expect(screen.getByTestId("undo").textContent).toContain("Undo restore of");
    await click("notice-undo");
    await waitFor(() =>
      expect(screen.getByTestId("notice").textContent).toContain("main is back as it was before."),
    );
    expect(screen.queryByTestId("notice-undo")).toBeNull();
    expect(screen.queryByTestId("undo")).toBeNull();
    expect(asked(host)).toEqual(["restore", "undo"]);
  });

  it("can be undone from the panel when the bar is gone", async () => {
    const host = await open(webapp("main"));
    await click("restore-initial-state");
    await screen.findByTestId("notice");
    await click("notice-dismiss");
    expect(screen.queryByTestId("notice")).toBeNull();
    await click("undo");
    expect(asked(host)).toEqual(["restore", "undo"]);
  });

  it("is reached by a key, and the arrows lead through the snapshots", async () => {
    const snapshots = [snapshot("old", 9e8), snapshot("new", 6e4)];
    const main = env("webapp", "main", { snapshots });
    await open({ engines: [LXD], projects: [project("webapp", PATH, [main])] });
    await press("r");
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("restore-new")));
    await press("ArrowDown");
    expect(document.activeElement).toBe(screen.getByTestId("restore-old"));
    await press("Escape");
  });

  it("is asked for once only", async () => {
    const host = await open(webapp("main"), 40);
    await click("restore-initial-state");
    await click("restore-initial-state");
    expect(asked(host)).toEqual(["restore"]);
    expect(screen.getByTestId("stop").getAttribute("aria-disabled")).toBe("true");
    await screen.findByTestId("notice");
  });
});

describe("a refusal", () => {
  const refusal = { kind: "conflict", message: "`main` is busy", hint: "wait for it" } as const;

  it("stands in the bar", async () => {
    const host = await open(webapp("main"));
    host.refusal = refusal;
    await click("stop");
    expect((await screen.findByTestId("notice")).textContent).toMatch(/main is busy.*wait for it/s);
  });

  it("stands there only where its row doesn't tell it", async () => {
    const host = await open(webapp("main"));
    host.change(MAIN, { problem: refusal });
    host.refusal = refusal;
    await click("stop");
    await screen.findByTestId("problem-main");
    expect(screen.queryByTestId("notice")).toBeNull();
  });
});

describe("where nothing is", () => {
  it("an engine is missing: the reasons, and what to run", async () => {
    await open({ engines: NO_ENGINES, projects: [] });
    const text = screen.getByTestId("empty-engine").textContent;
    expect(text).toContain("LXD is not reachable at /var/lib/lxd/unix.socket");
    expect(text).toContain("sudo apt install incus");
    expect(text).toContain("lxc-dev-manager doctor");
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
