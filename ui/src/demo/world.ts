/** Made-up projects and envs, for tests and for looking at the page in a browser. */
import type {
  EngineView,
  EnvView,
  PortView,
  ProjectView,
  SnapshotView,
  View,
} from "../lib/types.gen";

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

export function port(guest: number, change: Partial<PortView> = {}): PortView {
  const host = change.host ?? guest;
  return {
    guest,
    host,
    url: `http://localhost:${host}/`,
    state: "idle",
    focused: false,
    ...change,
  };
}

export function snapshot(
  name: string,
  age: number,
  description: string | null = null,
): SnapshotView {
  return { name, created_at: ago(age), description };
}

/** An env that runs, but for what is said otherwise. */
export function env(project: string | null, name: string, change: Partial<EnvView> = {}): EnvView {
  return {
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
    ...change,
  };
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
        step: "setting it back to seeded",
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
        message: "cannot restore `dev` to `before-upgrade`: the pool `default` has no room left",
        hint: "delete snapshots with `lxc-dev-manager container snapshot delete dev NAME`",
      },
    }),
  ]);
}

/** Three projects in the middle of a working day. */
export function day(): View {
  const stopped = { status: "stopped", address: null } as const;
  const notes = project(null, "/home/ada/src/notes", [
    env(null, "dev", stopped),
    env(null, "old", stopped),
  ]);
  return { engines: [LXD], projects: [api(), notes, webapp()] };
}

/** One project with many envs. */
export function many(envs: number): View {
  const all = Array.from({ length: envs }, (_, index) =>
    env("fleet", `agent-${String(index + 1).padStart(3, "0")}`, {
      address: `10.64.${Math.floor(index / 250)}.${(index % 250) + 2}`,
      status: index % 3 === 0 ? "stopped" : "running",
    }),
  );
  return { engines: [LXD], projects: [project("fleet", "/home/ada/src/fleet", all), webapp()] };
}

/** Names that fit nowhere, two checkouts of one repository, and every state that there is. */
export function awkward(): View {
  const long = "feature-login-with-single-sign-on-and-a-very-long-tail-retry";
  const path = "/home/ada/clients/the-northern-railway/worktrees/feature-login-with-single-sign-on";
  const states = (
    ["running", "stopped", "frozen", "error", "not-found", "unreachable"] as const
  ).map((status) => env("webapp", `is-${status}`, { status }));
  const names = [`${long}-1`, `${long}-2`].map((name) =>
    env("webapp", name, {
      image: "images.example.com/ubuntu-24.04-with-everything-that-we-need:2026-01",
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
      project("webapp", "/home/ada/src/webapp", [...names, ...states]),
      project("webapp", path, [env("webapp", "main")]),
      {
        ...project("broken", "/home/ada/src/broken"),
        problem: {
          kind: "config",
          message:
            "`containers.yaml` can't be read: line 7, column 3: a mapping value isn't allowed here",
          hint: "mend the file; it is read again as soon as it is saved",
        },
      },
    ],
  };
}
