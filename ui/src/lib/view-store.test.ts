import { describe, expect, it } from "vitest";
import { env, LXD, project, typicalDay } from "../demo/fixtures";
import { MemoryHost } from "../demo/memory-host";
import type { Outcome } from "./types.gen";
import { ViewStore } from "./view-store.svelte";

const REF = { project_path: "/p", env: "main" };

function setup() {
  const host = new MemoryHost({
    engines: [LXD],
    projects: [project("p", "/p", [env("p", "main")])],
  });
  const outcomes: Outcome[] = [];
  return { host, outcomes, store: new ViewStore(host, (outcome) => outcomes.push(outcome)) };
}

function status(store: ViewStore) {
  return store.view?.projects[0]?.envs[0]?.status;
}

describe("ViewStore", () => {
  it("loads the full view, then follows changes", async () => {
    const { host, store } = setup();
    await store.connect();
    expect(status(store)).toBe("running");
    host.updateEnv(REF, { status: "stopped" });
    expect(status(store)).toBe("stopped");
  });

  it("resubscribes after a lost patch", async () => {
    const { host, store } = setup();
    await store.connect();
    host.dropPatch();
    host.updateEnv(REF, { status: "frozen" });
    expect(status(store)).toBe("frozen");
    host.updateEnv(REF, { status: "stopped" });
    expect(status(store)).toBe("stopped");
    expect(store.error).toBeNull();
  });

  it("ignores events of an earlier subscription", async () => {
    const { host, store } = setup();
    let first: Parameters<MemoryHost["watch"]>[0] = () => {};
    const watch = host.watch.bind(host);
    host.watch = async (listener) => {
      first = listener;
      host.watch = watch;
    };
    await store.connect();
    await store.connect();
    first({ seq: 77, patch: { kind: "reset" } });
    first({ seq: 78, patch: { kind: "ready" } });
    expect(status(store)).toBe("running");
  });

  it("reports a failed subscription, and recovers", async () => {
    const { host, store } = setup();
    host.watchError = { kind: "internal", message: "gone", hint: "start the app" };
    await store.connect();
    expect(store.error).toEqual(host.watchError);
    expect(store.view).toBeNull();
    host.watchError = null;
    await store.connect();
    expect(store.error).toBeNull();
    expect(status(store)).toBe("running");
  });

  it("converts other rejections to an error report", async () => {
    const { host, store } = setup();
    host.watch = () => Promise.reject("command watch not found");
    await store.connect();
    expect(store.error).toEqual({
      kind: "internal",
      message: "command watch not found",
      hint: null,
    });
  });

  it("reports finished operations", async () => {
    const { host, store, outcomes } = setup();
    await store.connect();
    await host.act({ action: "restore", env: REF, snapshot: "seeded" });
    expect(outcomes).toMatchObject([{ verb: "restore", snapshot: "seeded", undoable: true }]);
  });
});

it("loads the demo fixtures", async () => {
  const store = new ViewStore(new MemoryHost(typicalDay()), () => {});
  await store.connect();
  expect(store.view?.projects.map(({ name, path }) => name ?? path)).toEqual([
    "api",
    "/home/ada/src/notes",
    "webapp",
  ]);
});
