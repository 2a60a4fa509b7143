import { describe, expect, it } from "vitest";
import { env, LXD, project } from "../demo/fixtures";
import type { EnvView, ProjectHead, View, ViewEvent, ViewPatch } from "./types.gen";
import { initialState, reduce, resubscribed, type ViewState } from "./view-reducer";

const PATH = "/src/webapp";

function head(...envs: string[]): ProjectHead {
  return { name: "webapp", path: PATH, problem: null, envs };
}

function patchEnv(env: EnvView, project_path = PATH): ViewPatch {
  return { kind: "env", project_path, env };
}

function advance(state: ViewState, event: ViewEvent): ViewState {
  const next = reduce(state, event);
  if (next === "gap") throw new Error("unexpected gap");
  return next;
}

function applyAll(patches: readonly ViewPatch[], from: ViewState = initialState()): ViewState {
  return patches.reduce((state, patch) => {
    return advance(state, { seq: (state.seq ?? 0) + 1, patch });
  }, from);
}

function fullView(...patches: ViewPatch[]): ViewState {
  return applyAll([{ kind: "reset" }, ...patches, { kind: "ready" }]);
}

function shown(state: ViewState): View {
  if (!state.view) throw new Error("no view");
  return state.view;
}

function names(state: ViewState): string[] {
  return shown(state).projects.flatMap((project) => project.envs.map((env) => env.name));
}

const twoEnvs = () =>
  fullView(
    { kind: "engine", engine: LXD },
    { kind: "project", project: head("main", "spike") },
    patchEnv(env("webapp", "main")),
    patchEnv(env("webapp", "spike")),
  );

describe("a full view", () => {
  it("is shown only when complete", () => {
    const incomplete = applyAll([{ kind: "reset" }, { kind: "project", project: head() }]);
    expect(incomplete.view).toBeNull();
    expect(shown(applyAll([{ kind: "ready" }], incomplete)).projects).toEqual([
      project("webapp", PATH),
    ]);
  });

  it("contains engines, projects and envs in order", () => {
    const state = twoEnvs();
    expect(shown(state).engines).toEqual([LXD]);
    expect(names(state)).toEqual(["main", "spike"]);
  });

  it("may be empty", () => {
    expect(shown(fullView())).toEqual({ engines: [], projects: [] });
  });

  it("replaces the previous view when complete", () => {
    const incomplete = applyAll(
      [{ kind: "reset" }, { kind: "project", project: head("new") }],
      twoEnvs(),
    );
    expect(names(incomplete)).toEqual(["main", "spike"]);
    const done = applyAll([patchEnv(env("webapp", "new")), { kind: "ready" }], incomplete);
    expect(names(done)).toEqual(["new"]);
    expect(shown(done).engines).toEqual([]);
  });

  it("sorts projects by label, then by path", () => {
    const heads: ProjectHead[] = [
      { ...head(), name: "b", path: "/2" },
      { ...head(), name: null, path: "/src/c" },
      { ...head(), name: "b", path: "/1" },
      { ...head(), name: "a", path: "/3" },
    ];
    const state = fullView(...heads.map((head): ViewPatch => ({ kind: "project", project: head })));
    expect(shown(state).projects.map((project) => project.path)).toEqual([
      "/3",
      "/1",
      "/2",
      "/src/c",
    ]);
  });
});

describe("patches", () => {
  it("before the first full view are not shown", () => {
    const state = applyAll([
      { kind: "project", project: head("main") },
      patchEnv(env("webapp", "main")),
    ]);
    expect(state.view).toBeNull();
    expect(applyAll([{ kind: "ready" }], state).view).toBeNull();
  });

  it("of one env keep the identity of all other objects", () => {
    const before = fullView(
      { kind: "project", project: head("main", "spike") },
      patchEnv(env("webapp", "main")),
      patchEnv(env("webapp", "spike")),
      { kind: "project", project: { ...head("dev"), name: "api", path: "/src/api" } },
      patchEnv(env("api", "dev"), "/src/api"),
    );
    const after = applyAll([patchEnv(env("webapp", "spike", { status: "stopped" }))], before);
    const [api, webapp] = shown(after).projects;
    expect(api).toBe(shown(before).projects[0]);
    expect(webapp).not.toBe(shown(before).projects[1]);
    expect(webapp?.envs[0]).toBe(shown(before).projects[1]?.envs[0]);
    expect(webapp?.envs[1]?.status).toBe("stopped");
  });

  it("of a head remove and reorder envs, and keep the identity of the others", () => {
    const before = fullView(
      { kind: "project", project: head("a", "b", "c") },
      ...["a", "b", "c"].map((name) => patchEnv(env("webapp", name))),
    );
    const after = applyAll([{ kind: "project", project: head("c", "a") }], before);
    expect(names(after)).toEqual(["c", "a"]);
    expect(shown(after).projects[0]?.envs[1]).toBe(shown(before).projects[0]?.envs[0]);
  });

  it("of a head discard a removed env for good", () => {
    const dropped = applyAll([{ kind: "project", project: head("main") }], twoEnvs());
    const again = applyAll([{ kind: "project", project: head("main", "spike") }], dropped);
    expect(names(again)).toEqual(["main"]);
    expect(names(applyAll([patchEnv(env("webapp", "spike"))], again))).toEqual(["main", "spike"]);
  });

  it("show an early env when its project arrives", () => {
    const early = applyAll([patchEnv(env("api", "dev"), "/src/api")], twoEnvs());
    expect(shown(early).projects).toHaveLength(1);
    const known: ProjectHead = { ...head("dev"), name: "api", path: "/src/api" };
    expect(names(applyAll([{ kind: "project", project: known }], early))).toEqual([
      "dev",
      "main",
      "spike",
    ]);
  });

  it("show a new env when the head lists it", () => {
    const early = applyAll([patchEnv(env("webapp", "new"))], twoEnvs());
    expect(names(early)).toEqual(["main", "spike"]);
    const late = applyAll([{ kind: "project", project: head("main", "spike", "new") }], early);
    expect(names(late)).toEqual(["main", "spike", "new"]);
  });

  it("add and replace engines by kind and address", () => {
    const unreachable = { ...LXD, reachable: false };
    const incus = { ...LXD, kind: "incus" as const, address: "/run/incus" };
    const state = applyAll(
      [
        { kind: "engine", engine: incus },
        { kind: "engine", engine: unreachable },
      ],
      twoEnvs(),
    );
    expect(shown(state).engines).toEqual([unreachable, incus]);
  });

  it("set the problem of a project", () => {
    const problem = { kind: "config", message: "line 7", hint: null } as const;
    const state = applyAll([{ kind: "project", project: { ...head(), problem } }], twoEnvs());
    expect(shown(state).projects[0]).toEqual({ ...project("webapp", PATH), problem });
  });

  it("remove a project", () => {
    const state = applyAll([{ kind: "project-gone", path: PATH }], twoEnvs());
    expect(shown(state).projects).toEqual([]);
  });

  it("for an unknown project are ignored", () => {
    const before = twoEnvs();
    const after = applyAll([{ kind: "project-gone", path: "/src/unknown" }], before);
    expect(after.view).toBe(before.view);
  });

  it("of finished operations do not change the view", () => {
    const before = twoEnvs();
    const outcome = {
      id: "1",
      env: { project_path: PATH, env: "main" },
      verb: "restore",
      snapshot: "seeded",
      error: null,
      undoable: true,
      summary: "Restored main to seeded",
    } as const;
    expect(applyAll([{ kind: "finished", outcome }], before).view).toBe(before.view);
  });
});

describe("sequence numbers", () => {
  it("may start at any number", () => {
    expect(reduce(initialState(), { seq: 900, patch: { kind: "reset" } })).not.toBe("gap");
  });

  it("with a missing number are a gap", () => {
    const state = twoEnvs();
    expect(reduce(state, { seq: (state.seq ?? 0) + 2, patch: { kind: "reset" } })).toBe("gap");
  });

  it("that repeat are a gap", () => {
    const state = twoEnvs();
    expect(reduce(state, { seq: state.seq ?? 0, patch: { kind: "ready" } })).toBe("gap");
  });

  it("restart on resubscription, which keeps the view and discards an incomplete one", () => {
    const incomplete = applyAll(
      [{ kind: "reset" }, { kind: "project", project: head("new") }],
      twoEnvs(),
    );
    const again = resubscribed(incomplete);
    expect(names(again)).toEqual(["main", "spike"]);
    const next = advance(again, { seq: 5000, patch: { kind: "ready" } });
    expect(names(next)).toEqual(["main", "spike"]);
  });
});
