import type { Host } from "../lib/host";
import type {
  Action,
  EnvRef,
  EnvView,
  ErrorReport,
  OperationView,
  Outcome,
  SnapshotView,
  Verb,
  View,
  ViewEvent,
  ViewPatch,
} from "../lib/types.gen";

type Change = Extract<
  Action,
  { action: "start" | "stop" | "stop-anyway" | "snapshot" | "restore" | "undo" }
>;

const VERB: Record<Change["action"], Verb> = {
  start: "start",
  stop: "stop",
  "stop-anyway": "stop",
  snapshot: "snapshot",
  restore: "restore",
  undo: "undo",
};

const UNDO_KEPT_FOR = 3 * 24 * 60 * 60 * 1000;

/** A backend in memory: does at once, or after `takes` milliseconds, what the real one would. */
export class MemoryHost implements Host {
  /** Everything that was asked for, in order. */
  readonly asked: Action[] = [];
  closed = false;
  /** What `watch` rejects with. */
  unreachable: ErrorReport | null = null;
  /** What the next action is refused with. */
  refusal: ErrorReport | null = null;

  #view: View;
  readonly #takes: number;
  #listener: ((event: ViewEvent) => void) | null = null;
  #seq = 0;
  #operations = 0;

  constructor(view: View, takes = 0) {
    this.#view = view;
    this.#takes = takes;
  }

  async watch(listener: (event: ViewEvent) => void): Promise<void> {
    if (this.unreachable) throw this.unreachable;
    this.#listener = listener;
    this.send({ kind: "reset" });
    for (const engine of this.#view.engines) this.send({ kind: "engine", engine });
    for (const { envs, ...head } of this.#view.projects) {
      this.send({ kind: "project", project: { ...head, envs: envs.map((env) => env.name) } });
      for (const env of envs) this.send({ kind: "env", project_path: head.path, env });
    }
    this.send({ kind: "ready" });
  }

  async act(action: Action): Promise<void> {
    this.asked.push(action);
    const { refusal } = this;
    this.refusal = null;
    if (refusal) throw refusal;
    if (action.action === "terminal" || action.action === "open-port") return;
    if (action.action === "focus") this.#focus(action);
    else if (action.action === "dismiss") this.change(action.env, { problem: null });
    else await this.#run(action);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Sends a patch, as the backend would of its own accord. */
  send(patch: ViewPatch): void {
    this.#seq += 1;
    this.#listener?.({ seq: this.#seq, patch });
  }

  /** Loses a patch. */
  lose(): void {
    this.#seq += 1;
  }

  /** Changes an env, and tells. */
  change(ref: EnvRef, change: Partial<EnvView>): void {
    const env = { ...this.env(ref), ...change };
    this.#view = {
      ...this.#view,
      projects: this.#view.projects.map((project) =>
        project.path === ref.project_path
          ? { ...project, envs: project.envs.map((old) => (old.name === env.name ? env : old)) }
          : project,
      ),
    };
    this.send({ kind: "env", project_path: ref.project_path, env });
  }

  env({ project_path, env: name }: EnvRef): EnvView {
    const project = this.#view.projects.find((one) => one.path === project_path);
    const env = project?.envs.find((one) => one.name === name);
    if (!env) throw new Error(`no env ${name} in ${project_path}`);
    return env;
  }

  /** The port's focus goes to this env, and no other has it any more. */
  #focus({ env: ref, port }: Extract<Action, { action: "focus" }>): void {
    for (const project of this.#view.projects) {
      for (const { name, ports } of project.envs) {
        const focused = project.path === ref.project_path && name === ref.env;
        if (!ports.some((one) => one.guest === port && one.focused !== focused)) continue;
        const moved = ports.map((one) => (one.guest === port ? { ...one, focused } : one));
        this.change({ project_path: project.path, env: name }, { ports: moved });
      }
    }
  }

  async #run(action: Change): Promise<void> {
    const { env: ref } = action;
    const before = this.env(ref);
    this.#operations += 1;
    const operation: OperationView = {
      id: `operation-${this.#operations}`,
      verb: VERB[action.action],
      step: null,
      percent: null,
      started_at: new Date().toISOString(),
    };
    this.change(ref, { operation });
    if (this.#takes > 0) await this.#work(ref, operation);
    this.change(ref, { ...this.#result(action, before, operation), operation: null });
    const outcome: Outcome = {
      id: operation.id,
      env: ref,
      verb: operation.verb,
      snapshot: "snapshot" in action ? action.snapshot : null,
      error: null,
      undoable: action.action === "restore",
    };
    this.send({ kind: "finished", outcome });
  }

  async #work(ref: EnvRef, operation: OperationView): Promise<void> {
    for (const percent of [20, 45, 70, 95]) {
      await new Promise((resolve) => setTimeout(resolve, this.#takes / 4));
      this.change(ref, { operation: { ...operation, step: "talking to the engine", percent } });
    }
  }

  #result(
    action: Change,
    before: EnvView,
    { id, verb, started_at }: OperationView,
  ): Partial<EnvView> {
    switch (action.action) {
      case "start":
        return { status: "running", address: "10.64.0.99" };
      case "stop":
      case "stop-anyway":
        return { status: "stopped", address: null };
      case "snapshot":
        return { snapshots: [...before.snapshots, taken(action.name, action.description)] };
      case "restore": {
        const expires_at = new Date(Date.now() + UNDO_KEPT_FOR).toISOString();
        return { undo: { id, verb, at: started_at, expires_at } };
      }
      case "undo":
        return { undo: null };
    }
  }
}

function taken(name: string | null, description: string | null): SnapshotView {
  const created_at = new Date().toISOString();
  return { name: name ?? created_at.slice(0, 16).replace(":", ""), created_at, description };
}
