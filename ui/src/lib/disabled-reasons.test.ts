import { describe, expect, it } from "vitest";
import { env } from "../demo/fixtures";
import { disabledReasons, powerAction } from "./disabled-reasons";
import type { EnvStatus } from "./types.gen";

const OPERATION = { id: "1", verb: "stop", step: null, percent: null, started_at: "" } as const;
const UNDO = { id: "1", verb: "restore", at: "", expires_at: "" } as const;

function reasonsFor(status: EnvStatus) {
  return disabledReasons(env("p", "main", { status }), false);
}

describe("disabled reasons", () => {
  it("enable everything but undo for a running env", () => {
    expect(reasonsFor("running")).toEqual({
      terminal: null,
      snapshot: null,
      restore: null,
      undo: "Nothing to undo",
      power: null,
    });
  });

  it("disable the terminal of a stopped env", () => {
    const reasons = reasonsFor("stopped");
    expect(reasons.terminal).toBe("main is stopped");
    expect(reasons.power).toBeNull();
    expect(reasons.restore).toBeNull();
  });

  it.each(["not-found", "unreachable"] as const)("disable everything for status %s", (status) => {
    expect(Object.values(reasonsFor(status)).every((reason) => reason !== null)).toBe(true);
  });

  it("disable everything but the terminal of a busy env", () => {
    const { terminal, ...others } = disabledReasons(
      env("p", "main", { operation: OPERATION, undo: UNDO }),
      false,
    );
    expect(terminal).toBeNull();
    expect(Object.values(others)).toEqual(Array(4).fill("main is busy: stopping"));
  });

  it("disable changes while an action is pending", () => {
    const reasons = disabledReasons(env("p", "main"), true);
    expect(reasons.restore).toBe("Waiting for the previous action");
  });

  it("disable restore without snapshots", () => {
    const reasons = disabledReasons(env("p", "main", { snapshots: [] }), false);
    expect(reasons.restore).toBe("main has no snapshots");
  });

  it("enable an available undo", () => {
    expect(disabledReasons(env("p", "main", { undo: UNDO }), false).undo).toBeNull();
  });
});

it("the power action stops a running env and starts any other", () => {
  const actions = (["running", "stopped", "frozen"] as const).map((status) =>
    powerAction(env("p", "main", { status })),
  );
  expect(actions).toEqual(["stop", "start", "start"]);
});
