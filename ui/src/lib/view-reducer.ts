/**
 * Applies the host's patches to the view. Pure.
 *
 * Objects that a patch does not change keep their identity, so that the page redraws only changes.
 * Between `reset` and `ready` a full view is collected while the previous one stays visible.
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

interface ProjectEntry {
  /** `null` while only envs have arrived: the project is not shown yet. */
  readonly head: ProjectHead | null;
  /** Includes envs that the head does not list yet: an env may arrive before its project. */
  readonly envs: ReadonlyMap<string, EnvView>;
  readonly view: ProjectView | null;
}

interface Tables {
  readonly engines: readonly EngineView[];
  /** By path. */
  readonly projects: ReadonlyMap<string, ProjectEntry>;
}

export interface ViewState {
  /** Number of the last patch; `null` before the first. */
  readonly seq: number | null;
  /** `null` until the first full view is complete. */
  readonly view: View | null;
  readonly current: Tables | null;
  /** The full view that is being received. */
  readonly incoming: Tables | null;
}

const EMPTY_TABLES: Tables = { engines: [], projects: new Map() };
const EMPTY_ENTRY: ProjectEntry = { head: null, envs: new Map(), view: null };

export function initialState(): ViewState {
  return { seq: null, view: null, current: null, incoming: null };
}

/** The state for a new subscription: the view stays, numbering starts again. */
export function resubscribed(state: ViewState): ViewState {
  return { ...state, seq: null, incoming: null };
}

/** The state after an event; `gap` if its number does not follow the last one. */
export function reduce(state: ViewState, { seq, patch }: ViewEvent): ViewState | "gap" {
  if (state.seq !== null && seq !== state.seq + 1) return "gap";
  return { ...apply(state, patch), seq };
}

function apply(state: ViewState, patch: ViewPatch): ViewState {
  switch (patch.kind) {
    case "reset":
      return { ...state, incoming: EMPTY_TABLES };
    case "ready":
      if (state.incoming === null) return state;
      return withCurrent({ ...state, incoming: null }, state.incoming);
    case "finished":
      return state;
    default:
      if (state.incoming !== null) return { ...state, incoming: update(state.incoming, patch) };
      return state.current === null ? state : withCurrent(state, update(state.current, patch));
  }
}

function withCurrent(state: ViewState, current: Tables): ViewState {
  if (current === state.current) return state;
  const projects = [...current.projects.values()].flatMap((entry) => entry.view ?? []);
  return {
    ...state,
    current,
    view: { engines: [...current.engines], projects: projects.sort(byLabel) },
  };
}

function byLabel(a: ProjectView, b: ProjectView): number {
  return projectLabel(a).localeCompare(projectLabel(b)) || a.path.localeCompare(b.path);
}

type Update = Exclude<ViewPatch, { kind: "reset" | "ready" | "finished" }>;

function update(tables: Tables, patch: Update): Tables {
  switch (patch.kind) {
    case "engine":
      return { ...tables, engines: withEngine(tables.engines, patch.engine) };
    case "project": {
      const entry = tables.projects.get(patch.project.path) ?? EMPTY_ENTRY;
      return withEntry(tables, patch.project.path, withHead(entry, patch.project));
    }
    case "env": {
      const entry = tables.projects.get(patch.project_path) ?? EMPTY_ENTRY;
      const envs = new Map(entry.envs).set(patch.env.name, patch.env);
      return withEntry(tables, patch.project_path, newEntry(entry.head, envs));
    }
    case "project-gone": {
      if (!tables.projects.has(patch.path)) return tables;
      const projects = new Map(tables.projects);
      projects.delete(patch.path);
      return { ...tables, projects };
    }
  }
}

function withEngine(engines: readonly EngineView[], engine: EngineView): readonly EngineView[] {
  const isSame = (other: EngineView) =>
    other.kind === engine.kind && other.address === engine.address;
  return engines.some(isSame)
    ? engines.map((other) => (isSame(other) ? engine : other))
    : [...engines, engine];
}

function withEntry(tables: Tables, path: string, entry: ProjectEntry): Tables {
  return { ...tables, projects: new Map(tables.projects).set(path, entry) };
}

/** A head lists every env of its project: the others no longer exist. */
function withHead(entry: ProjectEntry, head: ProjectHead): ProjectEntry {
  const listed = new Set(head.envs);
  return newEntry(head, new Map([...entry.envs].filter(([name]) => listed.has(name))));
}

function newEntry(head: ProjectHead | null, envs: ReadonlyMap<string, EnvView>): ProjectEntry {
  if (head === null) return { head, envs, view: null };
  const ordered = head.envs.flatMap((name) => envs.get(name) ?? []);
  return { head, envs, view: { ...head, envs: ordered } };
}
