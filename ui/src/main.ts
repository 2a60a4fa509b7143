import "./app.css";
import { isTauri } from "@tauri-apps/api/core";
import { mount } from "svelte";
import App from "./App.svelte";
import type { Host } from "./lib/host";
import { tauriHost } from "./lib/host.tauri";

/** In a browser, during development, a demo host replaces the app. */
async function findHost(): Promise<Host> {
  if (import.meta.env.DEV && !isTauri()) {
    const { demoHost } = await import("./demo/scenes");
    return demoHost(new URLSearchParams(location.search).get("scene"));
  }
  return tauriHost;
}

const target = document.getElementById("app");
if (target) mount(App, { target, props: { host: await findHost() } });
