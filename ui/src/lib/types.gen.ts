// Written by `make types` from crates/core/src/view/. Do not edit.

export type ErrorKind = "invalid-name" | "config" | "not-found" | "already-exists" | "not-ours" | "conflict" | "needs-confirmation" | "untrusted" | "unreachable" | "permission-denied" | "unsupported" | "engine" | "guest" | "timeout" | "cancelled" | "io" | "internal";

export type ErrorReport = { 
/**
 * What kind of failure it was.
 */
kind: ErrorKind, 
/**
 * The failed action, its object and the causes.
 */
message: string, 
/**
 * The next command to run.
 */
hint: string | null, };

export type EngineKind = "lxd" | "incus" | "lima" | "fake";

export type EnvStatus = "running" | "stopped" | "frozen" | "error" | "not-found" | "unreachable";

export type PortState = "idle" | "forwarded" | "taken" | "native";

export type OperationKind = "create" | "start" | "stop" | "snapshot" | "delete-snapshot" | "restore" | "remove" | "undo" | "clone" | "rename" | "restart" | "publish" | "transfer" | "configure" | "lend";

export type ActionKind = "terminal" | "start" | "stop" | "snapshot" | "restore" | "undo";

export type Limits = { 
/**
 * Number of CPUs.
 */
cpus?: number, 
/**
 * Memory in bytes.
 */
memory?: number, 
/**
 * Size of the root disk in bytes.
 */
disk?: number, };

export type PortView = { guest: number, host: number, 
/**
 * URL while it is forwarded.
 */
url: string, state: PortState, 
/**
 * Whether this env is the default target of the port.
 */
focused: boolean, 
/**
 * Port of this machine that belongs to this env only, while it is forwarded.
 */
stable?: number, 
/**
 * Omitted if only this machine can reach it.
 */
reach?: string, };

export type SnapshotView = { name: string, 
/**
 * RFC 3339.
 */
created_at: string, description: string | null, };

export type OperationView = { id: string, verb: OperationKind, step: string | null, 
/**
 * Progress of the step, 0 to 100.
 */
percent: number | null, 
/**
 * RFC 3339.
 */
started_at: string, };

export type UndoView = { id: string, verb: OperationKind, 
/**
 * RFC 3339.
 */
at: string, 
/**
 * RFC 3339.
 */
expires_at: string, };

export type EnvView = { project: string | null, name: string, instance: string, 
/**
 * `None` if it is not found or its engine is unreachable.
 */
engine: EngineKind | null, 
/**
 * The member of a cluster that has it; omitted without a cluster.
 */
location?: string, 
/**
 * The other checkout that created it, if that still exists.
 */
checkout?: string, image: string | null, status: EnvStatus, 
/**
 * IPv4 if it has both.
 */
address: string | null, 
/**
 * In the order of the file.
 */
ports: Array<PortView>, 
/**
 * Other host names that its forwards answer to; omitted if none.
 */
hosts?: Array<string>, 
/**
 * Whether a connection starts it; omitted if false.
 */
wake?: boolean, 
/**
 * Oldest first, without undo copies.
 */
snapshots: Array<SnapshotView>, limits: Limits, 
/**
 * Number of open terminal sessions; omitted if 0.
 */
sessions?: number, 
/**
 * The running operation.
 */
operation: OperationView | null, 
/**
 * The last error, until it is dismissed.
 */
problem: ErrorReport | null, 
/**
 * The newest operation that can be undone.
 */
undo: UndoView | null, 
/**
 * Each action with the reason why it is disabled, or `null`.
 */
actions: Record<ActionKind, string | null>, };

export type EngineView = { kind: EngineKind, 
/**
 * Path of a socket, or URL of a remote.
 */
address: string, reachable: boolean, problem: ErrorReport | null, };

export type ProjectView = { 
/**
 * `None` in a file without `project:`.
 */
name: string | null, 
/**
 * Directory; identifies the project.
 */
path: string, problem: ErrorReport | null, 
/**
 * What its file does to this machine without the user's consent; omitted if nothing.
 */
untrusted?: Array<PartView>, 
/**
 * In the order of the file.
 */
envs: Array<EnvView>, };

export type View = { engines: Array<EngineView>, 
/**
 * Sorted by name.
 */
projects: Array<ProjectView>, };

export type EnvRef = { 
/**
 * Directory of the project.
 */
project_path: string, env: string, };

export type PartView = { 
/**
 * What it does, and in which envs, in words.
 */
text: string, 
/**
 * It reaches the home itself, keys, or files outside of home and project.
 */
is_sensitive: boolean, };

export type ProjectHead = { name: string | null, path: string, problem: ErrorReport | null, 
/**
 * What the project's file does to this machine without the user's consent; omitted if nothing.
 */
untrusted?: Array<PartView>, 
/**
 * In the order of the file.
 */
envs: Array<string>, };

export type Outcome = { id: string, env: EnvRef, verb: OperationKind, snapshot: string | null, 
/**
 * `None` if it succeeded.
 */
error: ErrorReport | null, undoable: boolean, 
/**
 * The result in one phrase, as if it had succeeded.
 */
summary: string, };

export type ViewPatch = { "kind": "reset" } | { "kind": "ready" } | { "kind": "engine", engine: EngineView, } | { "kind": "project", project: ProjectHead, } | { "kind": "project-gone", path: string, } | { "kind": "env", project_path: string, env: EnvView, } | { "kind": "finished", outcome: Outcome, };

export type ViewEvent = { seq: number, patch: ViewPatch, };

export type Action = { "action": "start", env: EnvRef, } | { "action": "stop", env: EnvRef, force: boolean, } | { "action": "snapshot", env: EnvRef, 
/**
 * `null` creates a name from the time.
 */
name: string | null, description: string | null, } | { "action": "restore", env: EnvRef, snapshot: string, } | { "action": "undo", env: EnvRef, } | { "action": "focus", env: EnvRef, port: number, } | { "action": "open-port", env: EnvRef, port: number, } | { "action": "terminal", env: EnvRef, } | { "action": "dismiss", env: EnvRef, };
