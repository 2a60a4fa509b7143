import type { ErrorReport } from "./types.gen";

/** Whatever a promise rejected with, as a report. The shell itself rejects with plain text. */
export function toReport(cause: unknown): ErrorReport {
  if (isReport(cause)) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return { kind: "internal", message, hint: null };
}

function isReport(cause: unknown): cause is ErrorReport {
  return (
    typeof cause === "object" &&
    cause !== null &&
    "kind" in cause &&
    "message" in cause &&
    typeof cause.message === "string"
  );
}
