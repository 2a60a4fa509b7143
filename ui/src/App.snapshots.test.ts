// @vitest-environment jsdom
import { screen, waitFor } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";
import { asked, click, MAIN, open, PATH, press, type, webapp } from "./demo/window";
import { env, LXD, project, snapshot } from "./demo/world";

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
