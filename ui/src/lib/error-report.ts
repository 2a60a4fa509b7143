import type { ErrorReport } from "./types.gen";

/** The rejection of a promise as a report. Tauri itself rejects with plain text. */
export function toErrorReport(cause: unknown): ErrorReport {
  if (isErrorReport(cause)) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return { kind: "internal", message, hint: null };
}

function isErrorReport(cause: unknown): cause is ErrorReport {
  return (
    typeof cause === "object" &&
    cause !== null &&
    "kind" in cause &&
    "message" in cause &&
    typeof cause.message === "string"
  );
}
