// @vitest-environment jsdom
import { clearMocks, mockIPC } from "@tauri-apps/api/mocks";
import { afterEach, describe, expect, it } from "vitest";
import { tauriHost } from "./host.tauri";
import type { Action, ViewEvent } from "./types.gen";

afterEach(clearMocks);

const action: Action = {
  action: "stop",
  env: { project_path: "/p", env: "main" },
  force: false,
};

describe("tauriHost", () => {
  it("receives the view through a channel", async () => {
    const event: ViewEvent = { seq: 7, patch: { kind: "reset" } };
    mockIPC((command, args) => {
      expect(command).toBe("watch");
      const { channel } = args as { channel: { onmessage: (event: ViewEvent) => void } };
      channel.onmessage(event);
    });
    const received: ViewEvent[] = [];
    await tauriHost.watch((event) => received.push(event));
    expect(received).toEqual([event]);
  });

  it("invokes a command per action", async () => {
    const calls: unknown[] = [];
    mockIPC((command, args) => {
      calls.push([command, args]);
    });
    await tauriHost.act(action);
    await tauriHost.close();
    expect(calls).toEqual([
      ["act", { action }],
      ["close_window", {}],
    ]);
  });

  it("rejects with the error report", async () => {
    const report = { kind: "conflict", message: "busy", hint: null };
    mockIPC(() => Promise.reject(report));
    await expect(tauriHost.act(action)).rejects.toEqual(report);
  });
});
