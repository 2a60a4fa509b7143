/** Which actions are disabled for an env, for buttons and keyboard shortcuts alike. */

import type { ActionKind, EnvView } from "./types.gen";

/** Why an action is disabled; `null` if it is enabled. */
export type DisabledReason = string | null;

export type DisabledReasons = Readonly<Record<ActionKind, DisabledReason>>;

/** The app's reasons. `pending`: an earlier action on the env has no response yet. */
export function disabledReasons({ name, actions }: EnvView, pending: boolean): DisabledReasons {
  if (!pending) return actions;
  const reason = (kind: ActionKind) =>
    actions[kind] ?? `${name} is waiting for the previous action`;
  return {
    terminal: actions.terminal,
    start: reason("start"),
    stop: reason("stop"),
    snapshot: reason("snapshot"),
    restore: reason("restore"),
    undo: reason("undo"),
  };
}

/** Start and stop share a button and a shortcut. */
export function powerAction(env: EnvView): "start" | "stop" {
  return env.status === "running" ? "stop" : "start";
}
