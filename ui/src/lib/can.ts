/** What can be asked of an env as it is: one place, for buttons and keys alike. */

import type { EnvView } from "./types.gen";
import { DOING, STATUS } from "./words";

/** Why it can't be done now; `null` if it can. */
export type Refusal = string | null;

export interface Offers {
  readonly terminal: Refusal;
  readonly snapshot: Refusal;
  readonly restore: Refusal;
  readonly undo: Refusal;
  /** Starting and stopping share a button and a key. */
  readonly power: { readonly verb: "start" | "stop"; readonly refusal: Refusal };
}

/** `asked`: something was asked of the env and has not been answered. */
export function offers(env: EnvView, asked: boolean): Offers {
  const absent = env.status === "not-found" || env.status === "unreachable";
  const busy = env.operation ? `${env.name} is busy: ${DOING[env.operation.verb]}` : null;
  const gone = absent ? `${env.name} is ${STATUS[env.status]}` : null;
  const refusal = gone ?? busy ?? (asked ? "Asked for already" : null);
  return {
    terminal: gone ?? (env.status === "running" ? null : `${env.name} is ${STATUS[env.status]}`),
    snapshot: refusal,
    restore: refusal ?? (env.snapshots.length === 0 ? `${env.name} has no snapshot` : null),
    undo: refusal ?? (env.undo ? null : "Nothing to undo"),
    power: { verb: env.status === "running" ? "stop" : "start", refusal },
  };
}
