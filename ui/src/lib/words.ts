/** The words that the page uses for what the backend says in enums. */
import type { EngineKind, EnvStatus, EnvView, Outcome, PortState, Verb } from "./types.gen";

export const STATUS: Record<EnvStatus, string> = {
  running: "running",
  stopped: "stopped",
  frozen: "paused",
  error: "broken",
  "not-found": "not created",
  unreachable: "not reachable",
};

export const ENGINE: Record<EngineKind, string> = {
  lxd: "LXD",
  incus: "Incus",
  lima: "Lima",
  fake: "Fake",
};

export const PORT: Record<PortState, string> = {
  idle: "not forwarded",
  forwarded: "forwarded",
  taken: "taken",
  native: "forwarded by the engine",
};

/** What is going on, for a row: `restoring…`. */
export const DOING: Record<Verb, string> = {
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

/** What an undo takes back: `Undo restore of 14:02`. */
export const NOUN: Record<Verb, string> = {
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

/** Said of an operation that went well. */
export function done({ verb, env, snapshot }: Outcome): string {
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

/** What a look at the row should tell first. */
export type Mark = EnvStatus | "busy" | "attention";

/** The shape of a row's mark: work in progress hides the status, and so does a problem. */
export function mark(env: EnvView): Mark {
  if (env.operation) return "busy";
  return env.problem ? "attention" : env.status;
}
