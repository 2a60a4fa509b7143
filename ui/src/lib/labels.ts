/** Labels for the enums of the view. */
import { clockTime } from "./format";
import type {
  EngineKind,
  EnvStatus,
  EnvView,
  OperationView,
  Outcome,
  PortState,
  UndoView,
} from "./types.gen";

type OperationKind = OperationView["verb"];

export const STATUS_LABELS: Record<EnvStatus, string> = {
  running: "running",
  stopped: "stopped",
  frozen: "paused",
  error: "error",
  "not-found": "not created",
  unreachable: "unreachable",
};

export const ENGINE_LABELS: Record<EngineKind, string> = {
  lxd: "LXD",
  incus: "Incus",
  lima: "Lima",
  fake: "Fake",
};

export const PORT_LABELS: Record<PortState, string> = {
  idle: "not forwarded",
  forwarded: "forwarded",
  taken: "in use",
  native: "forwarded by the engine",
};

const PROGRESS: Record<OperationKind, string> = {
  create: "creating",
  start: "starting",
  stop: "stopping",
  snapshot: "taking a snapshot",
  "delete-snapshot": "deleting a snapshot",
  restore: "restoring",
  remove: "removing",
  undo: "undoing",
  clone: "cloning",
  rename: "renaming",
  restart: "restarting",
  publish: "making an image",
  transfer: "copying files",
  configure: "configuring",
  lend: "lending a socket",
};

const NOUNS: Record<OperationKind, string> = {
  create: "creation",
  start: "start",
  stop: "stop",
  snapshot: "snapshot",
  "delete-snapshot": "deletion of a snapshot",
  restore: "restore",
  remove: "removal",
  undo: "undo",
  clone: "cloning",
  rename: "rename",
  restart: "restart",
  publish: "making of an image",
  transfer: "copying of files",
  configure: "change of settings",
  lend: "loan of a socket",
};

/** `restoring`. */
export function operationLabel(operation: OperationView): string {
  return PROGRESS[operation.verb];
}

/** `Undo restore of 14:02`. */
export function undoLabel(undo: UndoView, now: number): string {
  return `Undo ${NOUNS[undo.verb]} of ${clockTime(undo.at, now)}`;
}

/** The result of a successful operation: `Restored main to seeded`. */
export function outcomeLabel({ verb, env, snapshot }: Outcome): string {
  const name = env.env;
  switch (verb) {
    case "create":
      return `Created ${name}`;
    case "start":
      return `Started ${name}`;
    case "stop":
      return `Stopped ${name}`;
    case "snapshot":
      return snapshot ? `Took the snapshot ${snapshot} of ${name}` : `Took a snapshot of ${name}`;
    case "delete-snapshot":
      return snapshot
        ? `Deleted the snapshot ${snapshot} of ${name}`
        : `Deleted a snapshot of ${name}`;
    case "restore":
      return snapshot ? `Restored ${name} to ${snapshot}` : `Restored ${name}`;
    case "remove":
      return `Removed ${name}`;
    case "undo":
      return `${name} is back as it was before`;
    case "clone":
      return `Cloned ${name}`;
    case "rename":
      return `Renamed ${name}`;
    case "restart":
      return `Restarted ${name}`;
    case "publish":
      return `Made an image of ${name}`;
    case "transfer":
      return `Copied files of ${name}`;
    case "configure":
      return `Configured ${name}`;
    case "lend":
      return `Lent a socket to ${name}`;
  }
}

export type StatusIconName = EnvStatus | "busy" | "attention";

/** An operation or a problem takes precedence over the status. */
export function statusIcon(env: EnvView): StatusIconName {
  if (env.operation) return "busy";
  return env.problem ? "attention" : env.status;
}
