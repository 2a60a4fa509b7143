import { describe, expect, it } from "vitest";
import { env } from "../demo/world";
import { offers } from "./can";
import type { EnvStatus } from "./types.gen";

const OPERATION = { id: "1", verb: "stop", step: null, percent: null, started_at: "" } as const;
const UNDO = { id: "1", verb: "restore", at: "", expires_at: "" } as const;

function offered(status: EnvStatus) {
  return offers(env("p", "main", { status }), false);
}

describe("what is offered", () => {
  it("of a running env: all but an undo of nothing", () => {
    expect(offered("running")).toEqual({
      terminal: null,
      snapshot: null,
      restore: null,
      undo: "Nothing to undo",
      power: { verb: "stop", refusal: null },
    });
  });

  it("of a stopped env: no terminal, and a start", () => {
    const can = offered("stopped");
    expect(can.terminal).toBe("main is stopped");
    expect(can.power).toEqual({ verb: "start", refusal: null });
    expect(can.restore).toBeNull();
  });

  it.each(["not-found", "unreachable"] as const)("of an env that is %s: nothing", (status) => {
    const can = offered(status);
    const refusals = [can.terminal, can.snapshot, can.restore, can.undo, can.power.refusal];
    expect(refusals.every((refusal) => refusal !== null)).toBe(true);
  });

  it("of a busy env: a terminal only, and what it is busy with", () => {
    const can = offers(env("p", "main", { operation: OPERATION, undo: UNDO }), false);
    expect(can.terminal).toBeNull();
    expect([can.snapshot, can.restore, can.undo, can.power.refusal]).toEqual(
      Array(4).fill("main is busy: stopping"),
    );
  });

  it("of an env that was asked for something: not the same twice", () => {
    expect(offers(env("p", "main"), true).restore).toBe("Asked for already");
  });

  it("of an env without snapshots: no restore", () => {
    expect(offers(env("p", "main", { snapshots: [] }), false).restore).toBe("main has no snapshot");
  });

  it("an undo where there is one", () => {
    expect(offers(env("p", "main", { undo: UNDO }), false).undo).toBeNull();
  });
});
