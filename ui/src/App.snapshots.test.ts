// @vitest-environment jsdom
import { screen, waitFor } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";
import { env, LXD, project, snapshot } from "./demo/fixtures";
import { actionNames, click, MAIN, open, PATH, press, type, webapp } from "./demo/test-app";

describe("snapshots", () => {
  it("are taken with a name and a description", async () => {
    const host = await open(webapp("main"));
    await press("s");
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("snapshot-name")));
    await type("snapshot-name", "before-upgrade");
    await type("snapshot-description", "all green");
    await click("snapshot-submit");
    await screen.findByTestId("snapshot-before-upgrade");
    expect(screen.queryByTestId("snapshot-name")).toBeNull();
    expect(host.actions).toEqual([
      { action: "snapshot", env: MAIN, name: "before-upgrade", description: "all green" },
    ]);
  });

  it("get a default name if none is given", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    await click("snapshot-submit");
    expect(host.actions).toEqual([
      { action: "snapshot", env: MAIN, name: null, description: null },
    ]);
  });

  it("are not taken with an invalid name", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    for (const name of ["two words", "initial-state"]) {
      await type("snapshot-name", name);
      expect(screen.getByTestId("snapshot-name").getAttribute("aria-invalid")).toBe("true");
      await click("snapshot-submit");
    }
    expect(host.actions).toEqual([]);
  });

  it("are cancelled by Escape, which keeps the window open", async () => {
    const host = await open(webapp("main"));
    await click("take-snapshot");
    await press("Escape", screen.getByTestId("snapshot-name"));
    expect(screen.queryByTestId("snapshot-name")).toBeNull();
    expect(host.closed).toBe(false);
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("take-snapshot")));
  });

  it("are listed newest first after the current state", async () => {
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

describe("restore", () => {
  it("needs no confirmation, and can be undone from its notification", async () => {
    const host = await open(webapp("main"));
    await click("restore-initial-state");
    const notification = await screen.findByTestId("notification");
    expect(notification.textContent).toContain("Restored main to initial-state");
    expect(screen.getByTestId("undo").textContent).toContain("Undo restore of");
    await click("notification-undo");
    await waitFor(() =>
      expect(screen.getByTestId("notification").textContent).toContain(
        "Undid the last change of main",
      ),
    );
    expect(screen.queryByTestId("notification-undo")).toBeNull();
    expect(screen.queryByTestId("undo")).toBeNull();
    expect(actionNames(host)).toEqual(["restore", "undo"]);
  });

  it("can be undone from the inspector after its notification is dismissed", async () => {
    const host = await open(webapp("main"));
    await click("restore-initial-state");
    await screen.findByTestId("notification");
    await click("notification-dismiss");
    expect(screen.queryByTestId("notification")).toBeNull();
    await click("undo");
    expect(actionNames(host)).toEqual(["restore", "undo"]);
  });

  it("is reachable by keyboard, and arrow keys move between snapshots", async () => {
    const snapshots = [snapshot("old", 9e8), snapshot("new", 6e4)];
    const main = env("webapp", "main", { snapshots });
    await open({ engines: [LXD], projects: [project("webapp", PATH, [main])] });
    await press("r");
    await waitFor(() => expect(document.activeElement).toBe(screen.getByTestId("restore-new")));
    await press("ArrowDown");
    expect(document.activeElement).toBe(screen.getByTestId("restore-old"));
    await press("Escape");
  });

  it("is sent only once", async () => {
    const host = await open(webapp("main"), 40);
    await click("restore-initial-state");
    await click("restore-initial-state");
    expect(actionNames(host)).toEqual(["restore"]);
    expect(screen.getByTestId("stop").getAttribute("aria-disabled")).toBe("true");
    await screen.findByTestId("notification");
  });
});

describe("a rejected action", () => {
  const report = { kind: "conflict", message: "`main` is busy", hint: "wait for it" } as const;

  it("is shown in a notification", async () => {
    const host = await open(webapp("main"));
    host.actionError = report;
    await click("stop");
    expect((await screen.findByTestId("notification")).textContent).toMatch(
      /main is busy.*wait for it/s,
    );
  });

  it("is not shown in a notification if its row shows it", async () => {
    const host = await open(webapp("main"));
    host.updateEnv(MAIN, { problem: report });
    host.actionError = report;
    await click("stop");
    await screen.findByTestId("problem-main");
    expect(screen.queryByTestId("notification")).toBeNull();
  });
});
