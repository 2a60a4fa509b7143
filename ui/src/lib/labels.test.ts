import { describe, expect, it } from "vitest";
import { env } from "../demo/fixtures";
import { outcomeLabel, statusIcon } from "./labels";
import type { OperationView, Outcome } from "./types.gen";

const OPERATION: OperationView = {
  id: "1",
  verb: "restore",
  step: null,
  percent: null,
  started_at: "2026-05-20T12:00:00Z",
};

function outcome(verb: Outcome["verb"], snapshot: string | null): Outcome {
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
] as const)("labels the outcome of %s (%s) “%s”", (verb, snapshot, text) => {
  expect(outcomeLabel(outcome(verb, snapshot))).toBe(text);
});

describe("status icon", () => {
  const problem = { kind: "engine", message: "no space left", hint: null } as const;

  it("is the status by default", () => {
    expect(statusIcon(env("p", "main", { status: "frozen" }))).toBe("frozen");
  });

  it("prefers a problem over the status", () => {
    expect(statusIcon(env("p", "main", { problem }))).toBe("attention");
  });

  it("prefers an operation over a problem", () => {
    expect(statusIcon(env("p", "main", { problem, operation: OPERATION }))).toBe("busy");
  });
});
