import type { Host } from "../lib/host";
import { MemoryHost } from "./memory-host";
import { awkward, day, LXD, many, NO_ENGINES, project } from "./world";

const TAKES = 1600;

const SCENES: Record<string, () => MemoryHost> = {
  day: () => new MemoryHost(day(), TAKES),
  many: () => new MemoryHost(many(40), TAKES),
  fleet: () => new MemoryHost(many(500), TAKES),
  awkward: () => new MemoryHost(awkward(), TAKES),
  "no-engine": () => new MemoryHost({ engines: NO_ENGINES, projects: [] }),
  "no-project": () => new MemoryHost({ engines: [LXD], projects: [] }),
  "no-env": () =>
    new MemoryHost({ engines: [LXD], projects: [project("webapp", "/home/ada/src/webapp")] }),
  failed: () => {
    const host = new MemoryHost(day());
    host.unreachable = {
      kind: "internal",
      message: "the app's background part did not answer",
      hint: "quit the app from its tray menu and start it again",
    };
    return host;
  },
};

/** A host for the page in a plain browser; the scene is named in the address: `?scene=many`. */
export function demoHost(scene: string | null): Host {
  return (SCENES[scene ?? "day"] ?? SCENES.day)?.() ?? new MemoryHost(day(), TAKES);
}
