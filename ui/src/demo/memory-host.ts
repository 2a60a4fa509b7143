import type { Host } from "../lib/host";
import { OPERATION_LABELS } from "../lib/labels.gen";
import type {
  Action,
  EnvRef,
  EnvView,
  ErrorReport,
  OperationView,
  Outcome,
  SnapshotView,
  View,
  ViewEvent,
  ViewPatch,
} from "../lib/types.gen";
import { allowedActions } from "./fixtures";

type Change = Extract<Action, { action: "start" | "stop" | "snapshot" | "restore" | "undo" }>;

const VERBS: Record<Change["action"], OperationView["verb"]> = {
  start: "start",
  stop: "stop",
  snapshot: "snapshot",
  restore: "restore",
  undo: "undo",
};

const UNDO_LIFETIME = 3 * 24 * 60 * 60 * 1000;

/** A host in memory. Operations take `operationTime` milliseconds. */
export class MemoryHost implements Host {
  /** All received actions, in order. */
  readonly actions: Action[] = [];
  /** All allowed parts, in order. */
  readonly trusted: string[] = [];
  closed = false;
  /** Makes `watch` reject. */
  watchError: ErrorReport | null = null;
  /** Makes the next action reject. */
  actionError: ErrorReport | null = null;

  #view: View;
  readonly #operationTime: number;
  #listener: ((event: ViewEvent) => void) | null = null;
  #seq = 0;
  #operations = 0;

  constructor(view: View, operationTime = 0) {
    this.#view = view;
    this.#operationTime = operationTime;
  }

  async watch(listener: (event: ViewEvent) => void): Promise<void> {
    if (this.watchError) throw this.watchError;
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
    this.actions.push(action);
    const { actionError } = this;
    this.actionError = null;
    if (actionError) throw actionError;
    if (action.action === "terminal" || action.action === "open-port") return;
    if (action.action === "focus") this.#focus(action);
    else if (action.action === "dismiss") this.updateEnv(action.env, { problem: null });
    else await this.#run(action);
  }

  async trust(path: string, parts: string[]): Promise<void> {
    this.trusted.push(...parts);
    if (this.actionError) throw this.actionError;
    const project = this.#view.projects.find((project) => project.path === path);
    if (!project) throw new Error(`no project ${path}`);
    const untrusted = (project.untrusted ?? []).filter(({ text }) => !parts.includes(text));
    const { envs, ...head } = { ...project, untrusted };
    if (untrusted.length === 0) head.problem = null;
    this.send({ kind: "project", project: { ...head, envs: envs.map((env) => env.name) } });
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** Sends a patch to the listener. */
  send(patch: ViewPatch): void {
    this.#seq += 1;
    this.#listener?.({ seq: this.#seq, patch });
  }

  /** Skips a sequence number, as if a patch were lost. */
  dropPatch(): void {
    this.#seq += 1;
  }

  /** Changes an env and sends the patch. */
  updateEnv(ref: EnvRef, changes: Partial<EnvView>): void {
    const changed = { ...this.env(ref), ...changes };
    const env = { ...changed, actions: allowedActions(changed) };
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
    const project = this.#view.projects.find((project) => project.path === project_path);
    const env = project?.envs.find((env) => env.name === name);
    if (!env) throw new Error(`no env ${name} in ${project_path}`);
    return env;
  }

  /** Focuses the port on this env only. */
  #focus({ env: ref, port }: Extract<Action, { action: "focus" }>): void {
    for (const project of this.#view.projects) {
      for (const { name, ports } of project.envs) {
        const focused = project.path === ref.project_path && name === ref.env;
        if (!ports.some((other) => other.guest === port && other.focused !== focused)) continue;
        const updated = ports.map((other) =>
          other.guest === port ? { ...other, focused } : other,
        );
        this.updateEnv({ project_path: project.path, env: name }, { ports: updated });
      }
    }
  }

  async #run(action: Change): Promise<void> {
    const { env: ref } = action;
    const before = this.env(ref);
    this.#operations += 1;
    const operation: OperationView = {
      id: `operation-${this.#operations}`,
      verb: VERBS[action.action],
      step: null,
      percent: null,
      started_at: new Date().toISOString(),
    };
    this.updateEnv(ref, { operation });
    if (this.#operationTime > 0) await this.#reportProgress(ref, operation);
    this.updateEnv(ref, { ...this.#result(action, before, operation), operation: null });
    const outcome: Outcome = {
      id: operation.id,
      env: ref,
      verb: operation.verb,
      snapshot: "snapshot" in action ? action.snapshot : null,
      error: null,
      undoable: action.action === "restore",
      summary: summary(operation.verb, ref.env, "snapshot" in action ? action.snapshot : null),
    };
    this.send({ kind: "finished", outcome });
  }

  async #reportProgress(ref: EnvRef, operation: OperationView): Promise<void> {
    for (const percent of [20, 45, 70, 95]) {
      await new Promise((resolve) => setTimeout(resolve, this.#operationTime / 4));
      this.updateEnv(ref, { operation: { ...operation, step: "waiting for the engine", percent } });
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
        return { status: "stopped", address: null };
      case "snapshot":
        return { snapshots: [...before.snapshots, newSnapshot(action.name, action.description)] };
      case "restore": {
        const expires_at = new Date(Date.now() + UNDO_LIFETIME).toISOString();
        return { undo: { id, verb, at: started_at, expires_at } };
      }
      case "undo":
        return { undo: null };
    }
  }
}

/** Stands in for the sentence of core. */
function summary(verb: OperationView["verb"], env: string, snapshot: string | null): string {
  return `${OPERATION_LABELS[verb].past} ${env}${snapshot ? ` to ${snapshot}` : ""}`;
}

function newSnapshot(name: string | null, description: string | null): SnapshotView {
  const created_at = new Date().toISOString();
  return { name: name ?? created_at.slice(0, 16).replace(":", ""), created_at, description };
}
