// Written by `make types` from crates/core. Do not edit.

import type { EngineKind, EnvStatus, OperationKind, PortState } from "./types.gen";

export const OPERATION_LABELS: Record<OperationKind, { imperative: string; participle: string; past: string; noun: string }> = {
  "clone": {
    "imperative": "clone",
    "noun": "clone",
    "participle": "cloning",
    "past": "Cloned"
  },
  "configure": {
    "imperative": "configure",
    "noun": "configuration",
    "participle": "configuring",
    "past": "Configured"
  },
  "create": {
    "imperative": "create",
    "noun": "create",
    "participle": "creating",
    "past": "Created"
  },
  "delete-snapshot": {
    "imperative": "delete a snapshot",
    "noun": "snapshot deletion",
    "participle": "deleting a snapshot",
    "past": "Deleted a snapshot of"
  },
  "lend": {
    "imperative": "forward a socket",
    "noun": "socket forward",
    "participle": "forwarding a socket",
    "past": "Forwarded a socket to"
  },
  "publish": {
    "imperative": "create an image",
    "noun": "image creation",
    "participle": "creating an image",
    "past": "Created an image of"
  },
  "remove": {
    "imperative": "remove",
    "noun": "removal",
    "participle": "removing",
    "past": "Removed"
  },
  "rename": {
    "imperative": "rename",
    "noun": "rename",
    "participle": "renaming",
    "past": "Renamed"
  },
  "restart": {
    "imperative": "restart",
    "noun": "restart",
    "participle": "restarting",
    "past": "Restarted"
  },
  "restore": {
    "imperative": "restore",
    "noun": "restore",
    "participle": "restoring",
    "past": "Restored"
  },
  "snapshot": {
    "imperative": "take a snapshot",
    "noun": "snapshot",
    "participle": "taking a snapshot",
    "past": "Took a snapshot of"
  },
  "start": {
    "imperative": "start",
    "noun": "start",
    "participle": "starting",
    "past": "Started"
  },
  "stop": {
    "imperative": "stop",
    "noun": "stop",
    "participle": "stopping",
    "past": "Stopped"
  },
  "transfer": {
    "imperative": "copy files",
    "noun": "file copy",
    "participle": "copying files",
    "past": "Copied files of"
  },
  "undo": {
    "imperative": "undo",
    "noun": "undo",
    "participle": "undoing",
    "past": "Undid the last change of"
  }
};

export const STATUS_LABELS: Record<EnvStatus, string> = {
  "error": "in an error state",
  "frozen": "paused",
  "not-found": "not created yet",
  "running": "running",
  "stopped": "stopped",
  "unreachable": "unreachable"
};

export const ENGINE_LABELS: Record<EngineKind, string> = {
  "fake": "the fake engine",
  "incus": "Incus",
  "lima": "Lima",
  "lxd": "LXD"
};

export const PORT_LABELS: Record<PortState, string> = {
  "forwarded": "forwarded",
  "idle": "not forwarded",
  "native": "forwarded by the engine",
  "taken": "in use"
};
