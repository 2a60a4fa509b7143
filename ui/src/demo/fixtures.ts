/** Sample projects and envs, for tests and for the demo in a browser. */
import type {
  ActionKind,
  EngineView,
  EnvView,
  PortView,
  ProjectView,
  SnapshotView,
  View,
} from "../lib/types.gen";
import envs from "./envs.gen.json";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const LXD: EngineView = {
  kind: "lxd",
  address: "/var/lib/lxd/unix.socket",
  reachable: true,
  problem: null,
};

export const NO_ENGINES: EngineView[] = [
  {
    kind: "lxd",
    address: "/var/lib/lxd/unix.socket",
    reachable: false,
    problem: {
      kind: "unreachable",
      message: "LXD is not reachable at `/var/lib/lxd/unix.socket`: no such file",
      hint: null,
    },
  },
  {
    kind: "incus",
    address: "/var/lib/incus/unix.socket",
    reachable: false,
    problem: {
      kind: "unreachable",
      message: "Incus is not reachable at `/var/lib/incus/unix.socket`: no such file",
      hint: null,
    },
  },
];

export function ago(milliseconds: number): string {
  return new Date(Date.now() - milliseconds).toISOString();
}

export function port(guest: number, changes: Partial<PortView> = {}): PortView {
  const host = changes.host ?? guest;
  return {
    guest,
    host,
    url: `http://localhost:${host}/`,
    state: "idle",
    focused: false,
    ...changes,
  };
}

export function snapshot(
  name: string,
  age: number,
  description: string | null = null,
): SnapshotView {
  return { name, created_at: ago(age), description };
}

/** A running env, with changes. */
export function env(project: string | null, name: string, changes: Partial<EnvView> = {}): EnvView {
  const view: EnvView = {
    project,
    name,
    instance: project ? `${project}-${name}` : name,
    engine: "lxd",
    image: "debian:12",
    status: "running",
    address: "10.64.0.17",
    ports: [port(5173), port(8000), port(5432)],
    snapshots: [snapshot("initial-state", 20 * DAY, "Initial state after setup")],
    limits: {},
    operation: null,
    problem: null,
    undo: null,
    actions: ALLOWED,
    ...changes,
  };
  return { ...view, actions: allowedActions(view) };
}

const ALLOWED: EnvView["actions"] = {
  terminal: null,
  start: null,
  stop: null,
  snapshot: null,
  restore: null,
  undo: null,
};

/** What core would allow, from its example of the same status. */
export function allowedActions(env: EnvView): EnvView["actions"] {
  const example = (envs as unknown as EnvView[]).find(
    ({ status, operation }) => status === env.status && !operation === !env.operation,
  );
  const actions = { ...(example?.actions ?? ALLOWED) };
  for (const [kind, reason] of Object.entries(actions) as [ActionKind, string | null][]) {
    actions[kind] = reason?.replace("main", env.name) ?? null;
  }
  if (env.snapshots.length === 0) actions.restore ??= `${env.name} has no snapshots`;
  if (!env.undo) actions.undo ??= `${env.name} has nothing to undo`;
  return actions;
}

export function project(name: string | null, path: string, envs: EnvView[] = []): ProjectView {
  return { name, path, problem: null, envs };
}

function webapp(): ProjectView {
  const stopped = { status: "stopped", address: null } as const;
  return project("webapp", "/home/ada/src/webapp", [
    env("webapp", "main", {
      image: "ubuntu:24.04",
      ports: [
        port(5173, {
          state: "forwarded",
          focused: true,
          url: "http://main.webapp.localhost:5173/",
        }),
        port(8000, { state: "forwarded", url: "http://main.webapp.localhost:8000/" }),
        port(5432, { state: "taken" }),
      ],
      limits: { cpus: 4, memory: 4 * 2 ** 30, disk: 50 * 2 ** 30 },
      snapshots: [
        snapshot("initial-state", 20 * DAY, "Initial state after setup"),
        snapshot("seeded", 3 * DAY),
        snapshot("before-migration", 2 * HOUR, "Schema 41, all tests green"),
      ],
    }),
    env("webapp", "feature-login", { image: "ubuntu:24.04", address: "10.64.0.23" }),
    env("webapp", "spike", {
      operation: {
        id: "a",
        verb: "restore",
        step: "copying snapshot `seeded`",
        percent: 62,
        started_at: ago(3000),
      },
    }),
    env("webapp", "old-bug", {
      ...stopped,
      snapshots: [
        snapshot("initial-state", 300 * DAY),
        snapshot("repro", DAY),
        snapshot("half", HOUR),
      ],
    }),
    env("webapp", "agent-2", { status: "not-found", address: null, snapshots: [] }),
  ]);
}

function api(): ProjectView {
  return project("api", "/home/ada/src/api", [
    env("api", "dev", {
      ports: [port(8000), port(5432, { state: "taken" })],
      problem: {
        kind: "conflict",
        message: "cannot restore `dev` to `before-upgrade`: no space left in pool `default`",
        hint: "run `lxc-dev-manager container snapshot delete dev NAME`",
      },
    }),
  ]);
}

/** Three projects on a typical day. */
export function typicalDay(): View {
  const stopped = { status: "stopped", address: null } as const;
  const notes = project(null, "/home/ada/src/notes", [
    env(null, "dev", stopped),
    env(null, "old", stopped),
  ]);
  return { engines: [LXD], projects: [api(), notes, webapp()] };
}

/** A project with many envs. */
export function manyEnvs(count: number): View {
  const all = Array.from({ length: count }, (_, index) =>
    env("fleet", `agent-${String(index + 1).padStart(3, "0")}`, {
      address: `10.64.${Math.floor(index / 250)}.${(index % 250) + 2}`,
      status: index % 3 === 0 ? "stopped" : "running",
    }),
  );
  return { engines: [LXD], projects: [project("fleet", "/home/ada/src/fleet", all), webapp()] };
}

/** Long names, two checkouts of one repository, and every status. */
export function edgeCases(): View {
  const long = "feature-login-with-single-sign-on-and-a-very-long-tail-retry";
  const path = "/home/ada/clients/the-northern-railway/worktrees/feature-login-with-single-sign-on";
  const statuses = (
    ["running", "stopped", "frozen", "error", "not-found", "unreachable"] as const
  ).map((status) => env("webapp", `status-${status}`, { status }));
  const names = [`${long}-1`, `${long}-2`].map((name) =>
    env("webapp", name, {
      image: "images.example.com/ubuntu-24.04-with-all-dependencies:2026-01",
      ports: [5173, 8000, 5432, 6379, 9229, 24678].map((number) =>
        port(number, { host: number + 20000 }),
      ),
      snapshots: [
        snapshot(
          "before-the-migration-of-the-accounts-table-to-the-new-layout",
          HOUR,
          "x".repeat(120),
        ),
      ],
    }),
  );
  return {
    engines: [LXD, { ...LXD, kind: "incus", address: "/var/lib/incus/unix.socket" }],
    projects: [
      project("webapp", "/home/ada/src/webapp", [...names, ...statuses]),
      project("webapp", path, [env("webapp", "main")]),
      {
        ...project("broken", "/home/ada/src/broken"),
        problem: {
          kind: "config",
          message:
            "cannot read `containers.yaml`: line 7, column 3: mapping values are not allowed here",
          hint: "correct the file: it is reloaded when saved",
        },
      },
    ],
  };
}
