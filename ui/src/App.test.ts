// @vitest-environment jsdom
import { render, screen, waitFor, within } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";
import App from "./App.svelte";
import { env, LXD, NO_ENGINES, project, typicalDay } from "./demo/fixtures";
import { MemoryHost } from "./demo/memory-host";
import {
  actionNames,
  click,
  MAIN,
  open,
  PATH,
  press,
  row,
  selectedRow,
  type,
  webapp,
} from "./demo/test-app";

describe("list", () => {
  it("shows projects with their running envs, and the envs of the selected project", async () => {
    await open(typicalDay());
    expect(screen.getByTestId("project-webapp").textContent).toContain("3 of 5 running");
    await click("project-webapp");
    expect(screen.getAllByRole("row")).toHaveLength(5);
    expect(row("old-bug").dataset.status).toBe("stopped");
    expect(row("old-bug").textContent).toContain("stopped · 3 snapshots");
    expect(row("spike").dataset.busy).toBe("restore");
    expect(row("spike").textContent).toMatch(
      /restoring….*copying snapshot.*seeded.*62 % ·.*\d+ s/s,
    );
  });

  it("labels an unnamed project with its directory", async () => {
    await open(typicalDay());
    expect(screen.getByTestId("project-notes")).toBeTruthy();
  });

  it("shows the paths of projects with the same name", async () => {
    await open({ engines: [LXD], projects: [project("a", "/one/a"), project("a", "/two/a")] });
    const labels = screen.getAllByTestId("project-a").map((button) => button.textContent);
    expect(labels[0]).toContain("/one/a");
    expect(labels[1]).toContain("/two/a");
  });

  it("keeps the element of a changed row", async () => {
    const host = await open(webapp("main", "spike"));
    const before = row("spike");
    host.updateEnv({ project_path: PATH, env: "spike" }, { status: "stopped" });
    await waitFor(() => expect(row("spike").dataset.status).toBe("stopped"));
    expect(row("spike")).toBe(before);
  });

  it("shows an error in its row until dismissed", async () => {
    const host = await open(webapp("main"));
    const problem = {
      kind: "engine",
      message: "no space left in `default`",
      hint: "run `prune`",
    } as const;
    host.updateEnv(MAIN, { problem });
    const banner = await screen.findByTestId("problem-main");
    expect(banner.textContent).toMatch(/no space left in default.*run prune/s);
    await click("problem-main-dismiss");
    await waitFor(() => expect(screen.queryByTestId("problem-main")).toBeNull());
    expect(host.actions).toEqual([{ action: "dismiss", env: MAIN }]);
  });

  it("shows why a project cannot be read", async () => {
    const problem = { kind: "config", message: "line 7", hint: null } as const;
    await open({ engines: [LXD], projects: [{ ...project("a", "/a"), problem }] });
    expect(screen.getByTestId("project-problem").textContent).toContain("line 7");
    expect(screen.queryByTestId("empty-env")).toBeNull();
  });
});

describe("keyboard", () => {
  it("moves the selection and the focus", async () => {
    await open(webapp("main", "spike", "bug"));
    await press("ArrowDown");
    await waitFor(() => expect(document.activeElement).toBe(row("spike")));
    await press("End");
    expect(selectedRow()).toBe("env-row-bug");
    await press("ArrowUp");
    expect(selectedRow()).toBe("env-row-spike");
    expect(within(screen.getByTestId("inspector")).getByLabelText("spike")).toBeTruthy();
  });

  it("opens a terminal, stops and starts", async () => {
    const host = await open(webapp("main"));
    await press("Enter");
    await press(" ");
    await waitFor(() => expect(screen.getByTestId("start")).toBeTruthy());
    await press(" ");
    await waitFor(() => expect(screen.getByTestId("stop")).toBeTruthy());
    expect(actionNames(host)).toEqual(["terminal", "stop", "start"]);
  });

  it("ignores disabled actions", async () => {
    const missing = env("webapp", "main", { status: "not-found" });
    const host = await open({ engines: [LXD], projects: [project("webapp", PATH, [missing])] });
    for (const key of ["Enter", " ", "s", "r"]) await press(key);
    expect(host.actions).toEqual([]);
  });

  it("filters, clears the filter, and closes the window", async () => {
    const host = await open(webapp("main", "spike"));
    await press("/");
    expect(document.activeElement).toBe(screen.getByTestId("filter"));
    await type("filter", "spi");
    expect(screen.getAllByRole("row")).toHaveLength(1);
    expect(selectedRow()).toBe("env-row-spike");
    await press("Enter");
    await waitFor(() => expect(document.activeElement).toBe(row("spike")));
    await press("Escape");
    expect(screen.getAllByRole("row")).toHaveLength(2);
    expect(host.closed).toBe(false);
    await press("Escape");
    expect(host.closed).toBe(true);
  });

  it("clears a filter without matches", async () => {
    await open(webapp("main"));
    await type("filter", "zebra");
    expect(screen.getByTestId("empty-filter")).toBeTruthy();
    expect(screen.queryByTestId("inspector")).toBeNull();
    screen.getByTestId("filter").focus();
    await press("Escape");
    expect(screen.getAllByRole("row")).toHaveLength(1);
  });

  it("moves between projects in the sidebar", async () => {
    await open(typicalDay());
    screen.getByTestId("project-api").focus();
    await press("ArrowDown");
    expect(screen.getByTestId("project-notes").getAttribute("aria-current")).toBe("true");
    expect(document.activeElement).toBe(screen.getByTestId("project-notes"));
  });
});

describe("empty state", () => {
  it("explains why no engine is reachable, and how to install one", async () => {
    await open({ engines: NO_ENGINES, projects: [] });
    const text = screen.getByTestId("empty-engine").textContent;
    expect(text).toContain("LXD is not reachable at /var/lib/lxd/unix.socket");
    expect(text).toContain("sudo apt install incus");
    expect(text).toContain("sudo incus admin init");
  });

  it("suggests no installation when an engine denies permission", async () => {
    const problem = { kind: "permission-denied", message: "no permission", hint: null } as const;
    await open({ engines: [{ ...LXD, reachable: false, problem }], projects: [] });
    expect(screen.getByTestId("empty-engine").textContent).not.toContain("apt install");
  });

  it("shows how to create a project", async () => {
    await open({ engines: [LXD], projects: [] });
    expect(screen.getByTestId("empty-project").textContent).toContain("lxc-dev-manager create");
  });

  it("shows how to create an env", async () => {
    await open({ engines: [LXD], projects: [project("webapp", PATH)] });
    expect(screen.getByTestId("empty-env").textContent).toContain(
      "lxc-dev-manager container create dev debian:12",
    );
  });

  it("shows why the connection failed, and retries", async () => {
    const host = new MemoryHost(webapp("main"));
    host.watchError = { kind: "internal", message: "not responding", hint: "start it again" };
    render(App, { host });
    expect((await screen.findByRole("alert")).textContent).toMatch(
      /not responding.*start it again/s,
    );
    host.watchError = null;
    await click("retry");
    expect(await screen.findByTestId("env-row-main")).toBeTruthy();
  });
});

describe("stop with an open terminal session", () => {
  it("needs confirmation", async () => {
    const host = await open(webapp("main"));
    host.actionError = {
      kind: "needs-confirmation",
      message: "a terminal session is open in `main`",
      hint: null,
    };
    await click("stop");
    const forceStop = await screen.findByTestId("notification-force-stop");
    expect(host.actions).toEqual([{ action: "stop", env: MAIN, force: false }]);
    expect(row("main").dataset.status).toBe("running");
    forceStop.click();
    await waitFor(() => expect(row("main").dataset.status).toBe("stopped"));
    expect(host.actions.at(-1)).toEqual({ action: "stop", env: MAIN, force: true });
  });
});
