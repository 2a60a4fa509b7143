import { describe, expect, it } from "vitest";
import { env, LXD, project } from "../demo/world";
import type { EnvView, ProjectHead, View, ViewPatch } from "./types.gen";
import { type Folded, fold, nothingYet, resubscribed } from "./view";

const PATH = "/src/webapp";

function head(...envs: string[]): ProjectHead {
  return { name: "webapp", path: PATH, problem: null, envs };
}

function patchEnv(env: EnvView, project_path = PATH): ViewPatch {
  return { kind: "env", project_path, env };
}

function foldAll(patches: readonly ViewPatch[], from: Folded = nothingYet()): Folded {
  return patches.reduce((state, patch) => {
    const result = fold(state, { seq: (state.seq ?? 0) + 1, patch });
    if (result.kind === "gap") throw new Error("a gap where there is none");
    return result.state;
  }, from);
}

function whole(...patches: ViewPatch[]): Folded {
  return foldAll([{ kind: "reset" }, ...patches, { kind: "ready" }]);
}

function shown(state: Folded): View {
  if (!state.view) throw new Error("nothing is shown");
  return state.view;
}

function names(state: Folded): string[] {
  return shown(state).projects.flatMap((one) => one.envs.map((each) => each.name));
}

const twoEnvs = () =>
  whole(
    { kind: "engine", engine: LXD },
    { kind: "project", project: head("main", "spike") },
    patchEnv(env("webapp", "main")),
    patchEnv(env("webapp", "spike")),
  );

describe("a whole view", () => {
  it("is shown once it is complete, not before", () => {
    const begun = foldAll([{ kind: "reset" }, { kind: "project", project: head() }]);
    expect(begun.view).toBeNull();
    expect(shown(foldAll([{ kind: "ready" }], begun)).projects).toEqual([project("webapp", PATH)]);
  });

  it("has engines, projects and envs in the order of their heads", () => {
    const state = twoEnvs();
    expect(shown(state).engines).toEqual([LXD]);
    expect(names(state)).toEqual(["main", "spike"]);
  });

  it("may be empty", () => {
    expect(shown(whole())).toEqual({ engines: [], projects: [] });
  });

  it("replaces the one before it, which stays until then", () => {
    const begun = foldAll(
      [{ kind: "reset" }, { kind: "project", project: head("new") }],
      twoEnvs(),
    );
    expect(names(begun)).toEqual(["main", "spike"]);
    const done = foldAll([patchEnv(env("webapp", "new")), { kind: "ready" }], begun);
    expect(names(done)).toEqual(["new"]);
    expect(shown(done).engines).toEqual([]);
  });

  it("sorts projects by what they are called, then by directory", () => {
    const heads: ProjectHead[] = [
      { ...head(), name: "b", path: "/2" },
      { ...head(), name: null, path: "/src/c" },
      { ...head(), name: "b", path: "/1" },
      { ...head(), name: "a", path: "/3" },
    ];
    const state = whole(...heads.map((one): ViewPatch => ({ kind: "project", project: one })));
    expect(shown(state).projects.map((one) => one.path)).toEqual(["/3", "/1", "/2", "/src/c"]);
  });
});

describe("changes", () => {
  it("before the first whole view are not shown", () => {
    const state = foldAll([
      { kind: "project", project: head("main") },
      patchEnv(env("webapp", "main")),
    ]);
    expect(state.view).toBeNull();
    expect(foldAll([{ kind: "ready" }], state).view).toBeNull();
  });

  it("of one env leave all other objects as they were", () => {
    const before = whole(
      { kind: "project", project: head("main", "spike") },
      patchEnv(env("webapp", "main")),
      patchEnv(env("webapp", "spike")),
      { kind: "project", project: { ...head("dev"), name: "api", path: "/src/api" } },
      patchEnv(env("api", "dev"), "/src/api"),
    );
    const after = foldAll([patchEnv(env("webapp", "spike", { status: "stopped" }))], before);
    const [api, webapp] = shown(after).projects;
    expect(api).toBe(shown(before).projects[0]);
    expect(webapp).not.toBe(shown(before).projects[1]);
    expect(webapp?.envs[0]).toBe(shown(before).projects[1]?.envs[0]);
    expect(webapp?.envs[1]?.status).toBe("stopped");
  });

  it("of a head drop and reorder envs, and keep those that stay", () => {
    const before = whole(
      { kind: "project", project: head("a", "b", "c") },
      ...["a", "b", "c"].map((name) => patchEnv(env("webapp", name))),
    );
    const after = foldAll([{ kind: "project", project: head("c", "a") }], before);
    expect(names(after)).toEqual(["c", "a"]);
    expect(shown(after).projects[0]?.envs[1]).toBe(shown(before).projects[0]?.envs[0]);
  });

  it("forget an env that a head dropped, even if a later head names it again", () => {
    const dropped = foldAll([{ kind: "project", project: head("main") }], twoEnvs());
    const again = foldAll([{ kind: "project", project: head("main", "spike") }], dropped);
    expect(names(again)).toEqual(["main"]);
    expect(names(foldAll([patchEnv(env("webapp", "spike"))], again))).toEqual(["main", "spike"]);
  });

  it("show an env that came before its project once the project has come", () => {
    const early = foldAll([patchEnv(env("api", "dev"), "/src/api")], twoEnvs());
    expect(shown(early).projects).toHaveLength(1);
    const known: ProjectHead = { ...head("dev"), name: "api", path: "/src/api" };
    expect(names(foldAll([{ kind: "project", project: known }], early))).toEqual([
      "dev",
      "main",
      "spike",
    ]);
  });

  it("show a new env of a known project once its head lists it", () => {
    const early = foldAll([patchEnv(env("webapp", "new"))], twoEnvs());
    expect(names(early)).toEqual(["main", "spike"]);
    const late = foldAll([{ kind: "project", project: head("main", "spike", "new") }], early);
    expect(names(late)).toEqual(["main", "spike", "new"]);
  });

  it("add and replace engines by kind and address", () => {
    const gone = { ...LXD, reachable: false };
    const incus = { ...LXD, kind: "incus" as const, address: "/run/incus" };
    const state = foldAll(
      [
        { kind: "engine", engine: incus },
        { kind: "engine", engine: gone },
      ],
      twoEnvs(),
    );
    expect(shown(state).engines).toEqual([gone, incus]);
  });

  it("carry a project's problem", () => {
    const problem = { kind: "config", message: "line 7", hint: null } as const;
    const state = foldAll([{ kind: "project", project: { ...head(), problem } }], twoEnvs());
    expect(shown(state).projects[0]).toEqual({ ...project("webapp", PATH), problem });
  });

  it("take a project away", () => {
    const state = foldAll([{ kind: "project-gone", path: PATH }], twoEnvs());
    expect(shown(state).projects).toEqual([]);
  });

  it("of an unknown project change nothing", () => {
    const before = twoEnvs();
    const after = foldAll([{ kind: "project-gone", path: "/src/unknown" }], before);
    expect(after.view).toBe(before.view);
  });

  it("are none where an operation only ended", () => {
    const before = twoEnvs();
    const outcome = {
      id: "1",
      env: { project_path: PATH, env: "main" },
      verb: "restore",
      snapshot: "seeded",
      error: null,
      undoable: true,
    } as const;
    expect(foldAll([{ kind: "finished", outcome }], before).view).toBe(before.view);
  });
});

describe("numbers", () => {
  it("may start anywhere", () => {
    expect(fold(nothingYet(), { seq: 900, patch: { kind: "reset" } }).kind).toBe("folded");
  });

  it("that skip one are a gap", () => {
    const state = twoEnvs();
    const seq = (state.seq ?? 0) + 2;
    expect(fold(state, { seq, patch: { kind: "reset" } })).toEqual({
      kind: "gap",
      expected: seq - 1,
      got: seq,
    });
  });

  it("that come twice are a gap", () => {
    const state = twoEnvs();
    expect(fold(state, { seq: state.seq ?? 0, patch: { kind: "ready" } }).kind).toBe("gap");
  });

  it("start anew with a subscription, while the view stays and a half sent one goes", () => {
    const begun = foldAll(
      [{ kind: "reset" }, { kind: "project", project: head("new") }],
      twoEnvs(),
    );
    const again = resubscribed(begun);
    expect(names(again)).toEqual(["main", "spike"]);
    const result = fold(again, { seq: 5000, patch: { kind: "ready" } });
    expect(result.kind === "folded" && names(result.state)).toEqual(["main", "spike"]);
  });
});
