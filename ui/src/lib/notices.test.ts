import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Notices, STAYS } from "./notices.svelte";
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
};

describe("a notice", () => {
  it("tells of a restore, and offers the way back", () => {
    const notices = new Notices();
    notices.finished(restored);
    expect(notices.current).toEqual({
      kind: "done",
      text: "Restored main to seeded",
      env,
      undoable: true,
    });
  });

  it("goes by itself after its time", () => {
    const notices = new Notices();
    notices.finished(restored);
    vi.advanceTimersByTime(STAYS - 1);
    expect(notices.current).not.toBeNull();
    vi.advanceTimersByTime(1);
    expect(notices.current).toBeNull();
  });

  it("stays while somebody is at it", () => {
    const notices = new Notices();
    notices.finished(restored);
    notices.hold();
    vi.advanceTimersByTime(10 * STAYS);
    expect(notices.current).not.toBeNull();
    notices.release();
    vi.advanceTimersByTime(STAYS);
    expect(notices.current).toBeNull();
  });

  it("has its own time, not what is left of an earlier one's", () => {
    const notices = new Notices();
    notices.finished(restored);
    vi.advanceTimersByTime(STAYS - 1);
    notices.finished({ ...restored, id: "2", snapshot: "later" });
    vi.advanceTimersByTime(STAYS - 1);
    expect(notices.current).toMatchObject({ text: "Restored main to later" });
  });

  it("of a refusal stays until dismissed", () => {
    const notices = new Notices();
    notices.refused(env, report);
    notices.release();
    vi.advanceTimersByTime(10 * STAYS);
    expect(notices.current).toEqual({ kind: "failed", report, env });
    notices.dismiss();
    expect(notices.current).toBeNull();
  });
});

describe("only spoken", () => {
  it("is what the row shows anyway", () => {
    const notices = new Notices();
    notices.finished({ ...restored, verb: "start", undoable: false });
    expect(notices.current).toBeNull();
    expect(notices.spoken).toBe("Started main");
  });

  it("is a failure, which stands in its row", () => {
    const notices = new Notices();
    notices.finished({ ...restored, error: report });
    expect(notices.current).toBeNull();
    expect(notices.spoken).toBe("main: main is busy");
  });
});
