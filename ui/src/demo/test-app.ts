/** The app on a `MemoryHost`, with helpers to operate it. */
import { configure, fireEvent, render, screen } from "@testing-library/svelte";
import App from "../App.svelte";
import type { Action, View } from "../lib/types.gen";
import { env, LXD, project } from "./fixtures";
import { MemoryHost } from "./memory-host";

// Generous, for busy CI machines.
configure({ asyncUtilTimeout: 5000 });

export const PATH = "/home/ada/src/webapp";
export const MAIN = { project_path: PATH, env: "main" };

export function webapp(...envs: Parameters<typeof env>[1][]): View {
  const views = envs.map((name) => env("webapp", name));
  return { engines: [LXD], projects: [project("webapp", PATH, views)] };
}

export async function open(view: View, operationTime = 0): Promise<MemoryHost> {
  const host = new MemoryHost(view, operationTime);
  render(App, { host });
  await screen.findByRole("main");
  return host;
}

export async function press(
  key: string,
  target: Element = document.activeElement ?? document.body,
) {
  await fireEvent.keyDown(target, { key });
}

export async function type(testid: string, value: string) {
  await fireEvent.input(screen.getByTestId(testid), { target: { value } });
}

export const click = (testid: string) => fireEvent.click(screen.getByTestId(testid));
export const row = (name: string) => screen.getByTestId(`env-row-${name}`);
export const selectedRow = () => screen.getByRole("row", { selected: true }).dataset.testid;
export const actionNames = (host: MemoryHost): Action["action"][] =>
  host.actions.map(({ action }) => action);
