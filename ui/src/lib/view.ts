/**
 * The view as the page keeps it, folded from the backend's patches. Pure: no clock, no backend.
 *
 * An object that no patch touched keeps its identity, so that the page redraws only what changed.
 * While a whole view is being sent (from `reset` to `ready`) it grows aside, and the one before it
 * stays on the screen.
 */
import { projectLabel } from "./format";
import type {
  EngineView,
  EnvView,
  ProjectHead,
  ProjectView,
  View,
  ViewEvent,
  ViewPatch,
} from "./types.gen";

export type { View };

/** What is known of one directory. */
interface Room {
  /** `null` while only envs have been heard of: such a room is not shown. */
  readonly head: ProjectHead | null;
  /** Also those that the head doesn't list yet: an env may be sent before its project is. */
  readonly envs: ReadonlyMap<string, EnvView>;
  readonly shown: ProjectView | null;
}

interface Tables {
  readonly engines: readonly EngineView[];
  readonly rooms: ReadonlyMap<string, Room>;
}

/** The state between two patches. */
export interface Folded {
  /** Number of the last patch; `null` before the first. */
  readonly seq: number | null;
  /** What to show; `null` until the first whole view has come. */
  readonly view: View | null;
  readonly live: Tables | null;
  /** The whole view that is being sent. */
  readonly growing: Tables | null;
}

/** What came of a patch: the next state, or the news that one was lost. */
export type Fold =
  | { readonly kind: "folded"; readonly state: Folded }
  | { readonly kind: "gap"; readonly expected: number; readonly got: number };

const NOTHING: Tables = { engines: [], rooms: new Map() };
const EMPTY_ROOM: Room = { head: null, envs: new Map(), shown: null };

/** Before the first patch. */
export function nothingYet(): Folded {
  return { seq: null, view: null, live: null, growing: null };
}

/** The same view, ready for the first patch of another subscription. */
export function resubscribed(state: Folded): Folded {
  return { ...state, seq: null, growing: null };
}

/** Folds one event in. */
export function fold(state: Folded, { seq, patch }: ViewEvent): Fold {
  if (state.seq !== null && seq !== state.seq + 1) {
    return { kind: "gap", expected: state.seq + 1, got: seq };
  }
  return { kind: "folded", state: { ...apply(state, patch), seq } };
}

function apply(state: Folded, patch: ViewPatch): Folded {
  switch (patch.kind) {
    case "reset":
      return { ...state, growing: NOTHING };
    case "ready":
      return state.growing === null ? state : shown({ ...state, growing: null }, state.growing);
    case "finished":
      return state;
    default:
      if (state.growing !== null) return { ...state, growing: change(state.growing, patch) };
      return state.live === null ? state : shown(state, change(state.live, patch));
  }
}

function shown(state: Folded, live: Tables): Folded {
  if (live === state.live) return state;
  const projects = [...live.rooms.values()].flatMap((room) => room.shown ?? []).sort(byLabel);
  return { ...state, live, view: { engines: [...live.engines], projects } };
}

function byLabel(a: ProjectView, b: ProjectView): number {
  return projectLabel(a).localeCompare(projectLabel(b)) || a.path.localeCompare(b.path);
}

type Change = Exclude<ViewPatch, { kind: "reset" | "ready" | "finished" }>;

function change(tables: Tables, patch: Change): Tables {
  switch (patch.kind) {
    case "engine":
      return { ...tables, engines: withEngine(tables.engines, patch.engine) };
    case "project": {
      const room = tables.rooms.get(patch.project.path) ?? EMPTY_ROOM;
      return withRoom(tables, patch.project.path, withHead(room, patch.project));
    }
    case "env": {
      const room = tables.rooms.get(patch.project_path) ?? EMPTY_ROOM;
      const envs = new Map(room.envs).set(patch.env.name, patch.env);
      return withRoom(tables, patch.project_path, draw(room.head, envs));
    }
    case "project-gone": {
      if (!tables.rooms.has(patch.path)) return tables;
      const rooms = new Map(tables.rooms);
      rooms.delete(patch.path);
      return { ...tables, rooms };
    }
  }
}

function withEngine(engines: readonly EngineView[], engine: EngineView): readonly EngineView[] {
  const same = (one: EngineView) => one.kind === engine.kind && one.address === engine.address;
  return engines.some(same)
    ? engines.map((one) => (same(one) ? engine : one))
    : [...engines, engine];
}

function withRoom(tables: Tables, path: string, room: Room): Tables {
  return { ...tables, rooms: new Map(tables.rooms).set(path, room) };
}

/** A head names every env that there is: the others are gone. */
function withHead(room: Room, head: ProjectHead): Room {
  const listed = new Set(head.envs);
  return draw(head, new Map([...room.envs].filter(([name]) => listed.has(name))));
}

function draw(head: ProjectHead | null, envs: ReadonlyMap<string, EnvView>): Room {
  if (head === null) return { head, envs, shown: null };
  const inOrder = head.envs.flatMap((name) => envs.get(name) ?? []);
  const { name, path, problem } = head;
  return { head, envs, shown: { name, path, problem, envs: inOrder } };
}
