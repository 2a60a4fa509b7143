import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DISPLAY_TIME, Notifications } from "./notifications.svelte";
import type { Outcome } from "./types.gen";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const env = { project_path: "/p", env: "main" };
const report = { kind: "conflict", message: "main is busy", hint: null } as const;
const restored: Outcome = {
  id: "1",
  env,
  verb: "restore",
  snapshot: "seeded",
  error: null,
  undoable: true,
  summary: "Restored main to seeded",
};

describe("a notification", () => {
  it("shows a restore as undoable", () => {
    const notifications = new Notifications();
    notifications.finished(restored);
    expect(notifications.current).toEqual({
      kind: "done",
      text: "Restored main to seeded",
      env,
      undoable: true,
    });
  });

  it("disappears after its display time", () => {
    const notifications = new Notifications();
    notifications.finished(restored);
    vi.advanceTimersByTime(DISPLAY_TIME - 1);
    expect(notifications.current).not.toBeNull();
    vi.advanceTimersByTime(1);
    expect(notifications.current).toBeNull();
  });

  it("stays while its timer is paused", () => {
    const notifications = new Notifications();
    notifications.finished(restored);
    notifications.pauseTimer();
    vi.advanceTimersByTime(10 * DISPLAY_TIME);
    expect(notifications.current).not.toBeNull();
    notifications.restartTimer();
    vi.advanceTimersByTime(DISPLAY_TIME);
    expect(notifications.current).toBeNull();
  });

  it("gets the full display time after an earlier one", () => {
    const notifications = new Notifications();
    notifications.finished(restored);
    vi.advanceTimersByTime(DISPLAY_TIME - 1);
    notifications.finished({
      ...restored,
      id: "2",
      snapshot: "later",
      summary: "Restored main to later",
    });
    vi.advanceTimersByTime(DISPLAY_TIME - 1);
    expect(notifications.current).toMatchObject({ text: "Restored main to later" });
  });

  it("of a rejected action stays until dismissed", () => {
    const notifications = new Notifications();
    notifications.rejected(env, report);
    notifications.restartTimer();
    vi.advanceTimersByTime(10 * DISPLAY_TIME);
    expect(notifications.current).toEqual({ kind: "failed", report, env });
    notifications.dismiss();
    expect(notifications.current).toBeNull();
  });
});

describe("an announcement without a notification", () => {
  it("is made for a result that the row shows", () => {
    const notifications = new Notifications();
    notifications.finished({
      ...restored,
      verb: "start",
      summary: "Started main",
      undoable: false,
    });
    expect(notifications.current).toBeNull();
    expect(notifications.announcement).toBe("Started main");
  });

  it("is made for a failure that the row shows", () => {
    const notifications = new Notifications();
    notifications.finished({ ...restored, error: report });
    expect(notifications.current).toBeNull();
    expect(notifications.announcement).toBe("main: main is busy");
  });
});
