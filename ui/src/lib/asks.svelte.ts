import { SvelteSet } from "svelte/reactivity";
import type { Host } from "./host";
import { toReport } from "./report";
import type { Action, EnvRef, ErrorReport } from "./types.gen";

/** What has been asked of the backend and not been answered yet. */
export class Asks {
  readonly #open = new SvelteSet<string>();
  readonly #host: Host;
  readonly #refused: (env: EnvRef, report: ErrorReport) => void;

  constructor(host: Host, refused: (env: EnvRef, report: ErrorReport) => void) {
    this.#host = host;
    this.#refused = refused;
  }

  /** Whether something that changes the env is on its way. */
  waiting(env: EnvRef): boolean {
    return this.#open.has(key(env));
  }

  /** Asks. A refusal is told, not thrown. */
  async ask(action: Action): Promise<void> {
    const changes = action.action !== "terminal" && action.action !== "dismiss";
    if (changes) this.#open.add(key(action.env));
    try {
      await this.#host.act(action);
    } catch (cause) {
      this.#refused(action.env, toReport(cause));
    } finally {
      if (changes) this.#open.delete(key(action.env));
    }
  }
}

/** No path contains a NUL, so that no two envs share a key. */
function key({ project_path, env }: EnvRef): string {
  return `${project_path}\0${env}`;
}
