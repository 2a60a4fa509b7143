import { describe, expect, it } from "vitest";
import { MemoryHost } from "../demo/memory-host";
import { day, env, LXD, project } from "../demo/world";
import { Live } from "./live.svelte";
import type { Outcome } from "./types.gen";

const REF = { project_path: "/p", env: "main" };

function start() {
  const host = new MemoryHost({
    engines: [LXD],
    projects: [project("p", "/p", [env("p", "main")])],
  });
  const outcomes: Outcome[] = [];
  return { host, outcomes, live: new Live(host, (outcome) => outcomes.push(outcome)) };
}

function status(live: Live) {
  return live.view?.projects[0]?.envs[0]?.status;
}

describe("the live view", () => {
  it("is whole after the first subscription, and follows changes", async () => {
    const { host, live } = start();
    await live.connect();
    expect(status(live)).toBe("running");
    host.change(REF, { status: "stopped" });
    expect(status(live)).toBe("stopped");
  });

  it("subscribes anew when a patch was lost, and misses nothing", async () => {
    const { host, live } = start();
    await live.connect();
    host.lose();
    host.change(REF, { status: "frozen" });
    expect(status(live)).toBe("frozen");
    host.change(REF, { status: "stopped" });
    expect(status(live)).toBe("stopped");
    expect(live.failure).toBeNull();
  });

  it("ignores what an earlier subscription still sends", async () => {
    const { host, live } = start();
    let first: Parameters<MemoryHost["watch"]>[0] = () => {};
    const watch = host.watch.bind(host);
    host.watch = async (listener) => {
      first = listener;
      host.watch = watch;
    };
    await live.connect();
    await live.connect();
    first({ seq: 77, patch: { kind: "reset" } });
    first({ seq: 78, patch: { kind: "ready" } });
    expect(status(live)).toBe("running");
  });

  it("says why there is no subscription, and recovers", async () => {
    const { host, live } = start();
    host.unreachable = { kind: "internal", message: "gone", hint: "start the app" };
    await live.connect();
    expect(live.failure).toEqual(host.unreachable);
    expect(live.view).toBeNull();
    host.unreachable = null;
    await live.connect();
    expect(live.failure).toBeNull();
    expect(status(live)).toBe("running");
  });

  it("makes a report of whatever else is thrown", async () => {
    const { host, live } = start();
    host.watch = () => Promise.reject("command watch not found");
    await live.connect();
    expect(live.failure).toEqual({
      kind: "internal",
      message: "command watch not found",
      hint: null,
    });
  });

  it("tells what ended", async () => {
    const { host, live, outcomes } = start();
    await live.connect();
    await host.act({ action: "restore", env: REF, snapshot: "seeded" });
    expect(outcomes).toMatchObject([{ verb: "restore", snapshot: "seeded", undoable: true }]);
  });
});

it("the demo's world can be shown", async () => {
  const live = new Live(new MemoryHost(day()), () => {});
  await live.connect();
  expect(live.view?.projects.map((one) => one.name ?? one.path)).toEqual([
    "api",
    "/home/ada/src/notes",
    "webapp",
  ]);
});
