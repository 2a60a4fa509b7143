/** Which actions are disabled for an env, for buttons and keyboard shortcuts alike. */

import { operationLabel, STATUS_LABELS } from "./labels";
import type { EnvView } from "./types.gen";

/** Why an action is disabled; `null` if it is enabled. */
export type DisabledReason = string | null;

export interface DisabledReasons {
  readonly terminal: DisabledReason;
  readonly snapshot: DisabledReason;
  readonly restore: DisabledReason;
  readonly undo: DisabledReason;
  /** Of `powerAction`. */
  readonly power: DisabledReason;
}

/** `pending`: an earlier action on the env has no response yet. */
export function disabledReasons(env: EnvView, pending: boolean): DisabledReasons {
  const absent = env.status === "not-found" || env.status === "unreachable";
  const state = `${env.name} is ${STATUS_LABELS[env.status]}`;
  const unavailable = absent ? state : null;
  const busy = env.operation ? `${env.name} is busy: ${operationLabel(env.operation)}` : null;
  const reason = unavailable ?? busy ?? (pending ? "Waiting for the previous action" : null);
  return {
    terminal: env.status === "running" ? null : state,
    snapshot: reason,
    restore: reason ?? (env.snapshots.length === 0 ? `${env.name} has no snapshots` : null),
    undo: reason ?? (env.undo ? null : "Nothing to undo"),
    power: reason,
  };
}

/** Start and stop share a button and a shortcut. */
export function powerAction(env: EnvView): "start" | "stop" {
  return env.status === "running" ? "stop" : "start";
}
