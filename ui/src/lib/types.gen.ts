// Written by `make types` from crates/core/src/view/. Do not edit.

export type ErrorKind = "invalid-name" | "config" | "not-found" | "already-exists" | "not-ours" | "conflict" | "needs-confirmation" | "unreachable" | "permission-denied" | "unsupported" | "engine" | "guest" | "timeout" | "cancelled" | "io" | "internal";

export type ErrorReport = { 
/**
 * What kind of failure it was.
 */
kind: ErrorKind, 
/**
 * What failed, on which object, and why.
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

export type PortView = { 
/**
 * Port inside of the env.
 */
guest: number, 
/**
 * Port on this machine.
 */
host: number, 
/**
 * Where a browser finds it while it is forwarded.
 */
url: string, 
/**
 * What the forward does.
 */
state: PortState, 
/**
 * Whether this env has the port's focus.
 */
focused: boolean, 
/**
 * Port on this machine that is this env's alone, while it is forwarded.
 */
stable?: number, 
/**
 * From where it can be reached, where the file says more than from this machine.
 */
reach?: string, };

export type SnapshotView = { 
/**
 * Its name.
 */
name: string, 
/**
 * When the engine made it (RFC 3339).
 */
created_at: string, 
/**
 * What the file says of it.
 */
description: string | null, };

export type OperationView = { 
/**
 * Its id.
 */
id: string, 
/**
 * What it does.
 */
verb: OperationKind, 
/**
 * The step that it is at, in words.
 */
step: string | null, 
/**
 * How far that step is, 0 to 100, where that is known.
 */
percent: number | null, 
/**
 * When it began (RFC 3339).
 */
started_at: string, };

export type UndoView = { 
/**
 * The operation to take back.
 */
id: string, 
/**
 * What it did.
 */
verb: OperationKind, 
/**
 * When (RFC 3339).
 */
at: string, 
/**
 * Until when it can be taken back (RFC 3339).
 */
expires_at: string, };

export type EnvView = { 
/**
 * Name of its project; `None` in a file without one.
 */
project: string | null, 
/**
 * Name in the file.
 */
name: string, 
/**
 * Name in the engine.
 */
instance: string, 
/**
 * The engine that has it; `None` where none has, or none can be asked.
 */
engine: EngineKind | null, 
/**
 * The member of a cluster that has it; missing where the engine is no cluster.
 */
location?: string, 
/**
 * The other directory that made it, a second checkout of the project, while that is still there.
 */
checkout?: string, 
/**
 * Image that the file names for it.
 */
image: string | null, 
/**
 * What it does.
 */
status: EnvStatus, 
/**
 * Its address, IPv4 if it has one.
 */
address: string | null, 
/**
 * Its configured ports, in the file's order.
 */
ports: Array<PortView>, 
/**
 * Whether a connection starts it; missing where it doesn't.
 */
wake?: boolean, 
/**
 * Its snapshots, oldest first, without our undo copies.
 */
snapshots: Array<SnapshotView>, 
/**
 * Its limits.
 */
limits: Limits, 
/**
 * How many terminal sessions of ours are open in it; missing where none is.
 */
sessions?: number, 
/**
 * What is being done to it now.
 */
operation: OperationView | null, 
/**
 * What went wrong last, until dealt with.
 */
problem: ErrorReport | null, 
/**
 * The newest operation on it that can be taken back.
 */
undo: UndoView | null, };

export type EngineView = { 
/**
 * Which kind.
 */
kind: EngineKind, 
/**
 * Where it answers: a socket's path, or the URL of a remote.
 */
address: string, 
/**
 * Whether it answers now.
 */
reachable: boolean, 
/**
 * Why it doesn't.
 */
problem: ErrorReport | null, };

export type ProjectView = { 
/**
 * Name in the file; `None` in a file without `project:`.
 */
name: string | null, 
/**
 * Its directory: unique, and its identity here.
 */
path: string, 
/**
 * Why its file can't be read.
 */
problem: ErrorReport | null, 
/**
 * Its envs, in the file's order.
 */
envs: Array<EnvView>, };

export type View = { 
/**
 * The engines that were found, or that were looked for in vain.
 */
engines: Array<EngineView>, 
/**
 * The known projects, by name.
 */
projects: Array<ProjectView>, };

export type EnvRef = { 
/**
 * The project's directory.
 */
project_path: string, 
/**
 * The env in it.
 */
env: string, };

export type ProjectHead = { 
/**
 * Name in the file.
 */
name: string | null, 
/**
 * Its directory.
 */
path: string, 
/**
 * Why its file can't be read.
 */
problem: ErrorReport | null, 
/**
 * Names of its envs, in order.
 */
envs: Array<string>, };

export type Outcome = { 
/**
 * Its id.
 */
id: string, 
/**
 * On which env.
 */
env: EnvRef, 
/**
 * What was done.
 */
verb: OperationKind, 
/**
 * The snapshot that it was about.
 */
snapshot: string | null, 
/**
 * Why it failed; `None` if it didn't.
 */
error: ErrorReport | null, 
/**
 * Whether it can be taken back.
 */
undoable: boolean, };

export type ViewPatch = { "kind": "reset" } | { "kind": "ready" } | { "kind": "engine", 
/**
 * Its state.
 */
engine: EngineView, } | { "kind": "project", 
/**
 * The project without its envs.
 */
project: ProjectHead, } | { "kind": "project-gone", 
/**
 * Its directory.
 */
path: string, } | { "kind": "env", 
/**
 * The project's directory.
 */
project_path: string, 
/**
 * Its state. Boxed: it is far larger than the other patches.
 */
env: EnvView, } | { "kind": "finished", 
/**
 * What was done.
 */
outcome: Outcome, };

export type ViewEvent = { 
/**
 * Number of this patch.
 */
seq: number, 
/**
 * The change.
 */
patch: ViewPatch, };

export type Action = { "action": "start", 
/**
 * Which.
 */
env: EnvRef, } | { "action": "stop", 
/**
 * Which.
 */
env: EnvRef, } | { "action": "stop-anyway", 
/**
 * Which.
 */
env: EnvRef, } | { "action": "snapshot", 
/**
 * Of which env.
 */
env: EnvRef, 
/**
 * Its name.
 */
name: string | null, 
/**
 * A line about it.
 */
description: string | null, } | { "action": "restore", 
/**
 * Which env.
 */
env: EnvRef, 
/**
 * To which snapshot.
 */
snapshot: string, } | { "action": "undo", 
/**
 * Which env.
 */
env: EnvRef, } | { "action": "focus", 
/**
 * Which env.
 */
env: EnvRef, 
/**
 * Which port.
 */
port: number, } | { "action": "open-port", 
/**
 * Of which env.
 */
env: EnvRef, 
/**
 * Which.
 */
port: number, } | { "action": "terminal", 
/**
 * Which.
 */
env: EnvRef, } | { "action": "dismiss", 
/**
 * On which env.
 */
env: EnvRef, };
