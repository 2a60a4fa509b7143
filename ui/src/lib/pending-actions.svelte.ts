import { SvelteSet } from "svelte/reactivity";
import { toErrorReport } from "./error-report";
import type { Host } from "./host";
import type { Action, EnvRef, ErrorReport } from "./types.gen";

/** Sends actions to the host, and tracks those without a response. */
export class PendingActions {
  readonly #pending = new SvelteSet<string>();
  readonly #host: Host;
  readonly #onRejected: (env: EnvRef, report: ErrorReport) => void;

  constructor(host: Host, onRejected: (env: EnvRef, report: ErrorReport) => void) {
    this.#host = host;
    this.#onRejected = onRejected;
  }

  /** Whether an action that changes the env is pending. */
  has(env: EnvRef): boolean {
    return this.#pending.has(key(env));
  }

  /** Never rejects: errors go to `onRejected`. */
  async send(action: Action): Promise<void> {
    const changesEnv = action.action !== "terminal" && action.action !== "dismiss";
    if (changesEnv) this.#pending.add(key(action.env));
    try {
      await this.#host.act(action);
    } catch (cause) {
      this.#onRejected(action.env, toErrorReport(cause));
    } finally {
      if (changesEnv) this.#pending.delete(key(action.env));
    }
  }
}

/** Paths contain no NUL, so keys are unique. */
function key({ project_path, env }: EnvRef): string {
  return `${project_path}\0${env}`;
}
