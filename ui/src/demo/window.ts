/** The window on a made-up backend, and hands for the tests that use it. */
import { configure, fireEvent, render, screen } from "@testing-library/svelte";
import App from "../App.svelte";
import type { Action, View } from "../lib/types.gen";
import { MemoryHost } from "./memory-host";
import { env, LXD, project } from "./world";

// A busy machine takes its time.
configure({ asyncUtilTimeout: 5000 });

export const PATH = "/home/ada/src/webapp";
export const MAIN = { project_path: PATH, env: "main" };

export function webapp(...envs: Parameters<typeof env>[1][]): View {
  const all = envs.map((name) => env("webapp", name));
  return { engines: [LXD], projects: [project("webapp", PATH, all)] };
}

export async function open(view: View, takes = 0): Promise<MemoryHost> {
  const host = new MemoryHost(view, takes);
  render(App, { host });
  await screen.findByRole("main");
  return host;
}

export async function press(key: string, on: Element = document.activeElement ?? document.body) {
  await fireEvent.keyDown(on, { key });
}

export async function type(testid: string, value: string) {
  await fireEvent.input(screen.getByTestId(testid), { target: { value } });
}

export const click = (testid: string) => fireEvent.click(screen.getByTestId(testid));
export const row = (name: string) => screen.getByTestId(`env-row-${name}`);
export const chosen = () => screen.getByRole("row", { selected: true }).dataset.testid;
export const asked = (host: MemoryHost): Action["action"][] =>
  host.asked.map(({ action }) => action);
