import { Channel, invoke } from "@tauri-apps/api/core";
import type { Host } from "./host";
import type { Action, ViewEvent } from "./types.gen";

/** The host in the app's window: Tauri commands. */
export const tauriHost: Host = {
  async watch(listener) {
    await invoke("watch", { channel: new Channel<ViewEvent>(listener) });
  },
  async act(action: Action) {
    await invoke("act", { action });
  },
  async trust(path, parts) {
    await invoke("trust", { path, parts });
  },
  async close() {
    await invoke("close_window");
  },
};
