import { describe, expect, it } from "vitest";
import { env } from "../demo/world";
import type { OperationView, Outcome, Verb } from "./types.gen";
import { done, mark } from "./words";

const OPERATION: OperationView = {
  id: "1",
  verb: "restore",
  step: null,
  percent: null,
  started_at: "2026-05-20T12:00:00Z",
};

function outcome(verb: Verb, snapshot: string | null): Outcome {
  return {
    id: "1",
    env: { project_path: "/p", env: "main" },
    verb,
    snapshot,
    error: null,
    undoable: false,
  };
}

it.each([
  ["restore", "seeded", "Restored main to seeded"],
  ["restore", null, "Restored main"],
  ["undo", null, "main is back as it was before"],
  ["snapshot", "seeded", "Took the snapshot seeded of main"],
  ["snapshot", null, "Took a snapshot of main"],
  ["delete-snapshot", "seeded", "Deleted the snapshot seeded of main"],
  ["delete-snapshot", null, "Deleted a snapshot of main"],
  ["create", null, "Created main"],
  ["start", null, "Started main"],
  ["stop", null, "Stopped main"],
  ["remove", null, "Removed main"],
] as const)("the end of %s (%s) is told as “%s”", (verb, snapshot, text) => {
  expect(done(outcome(verb, snapshot))).toBe(text);
});

describe("the mark of a row", () => {
  const problem = { kind: "engine", message: "no room left", hint: null } as const;

  it("is the status where nothing else is to be said", () => {
    expect(mark(env("p", "main", { status: "frozen" }))).toBe("frozen");
  });

  it("is a problem before the status", () => {
    expect(mark(env("p", "main", { problem }))).toBe("attention");
  });

  it("is work in progress before a problem", () => {
    expect(mark(env("p", "main", { problem, operation: OPERATION }))).toBe("busy");
  });
});
