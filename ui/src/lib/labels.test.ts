import { describe, expect, it } from "vitest";
import { env } from "../demo/fixtures";
import { statusIcon } from "./labels";
import type { OperationView } from "./types.gen";

const OPERATION: OperationView = {
  id: "1",
  verb: "restore",
  step: null,
  percent: null,
  started_at: "2026-05-20T12:00:00Z",
};

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
