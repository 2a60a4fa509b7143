import type { Host } from "../lib/host";
import { edgeCases, LXD, manyEnvs, NO_ENGINES, project, typicalDay } from "./fixtures";
import { MemoryHost } from "./memory-host";

const OPERATION_TIME = 1600;

const SCENES: Record<string, () => MemoryHost> = {
  day: () => new MemoryHost(typicalDay(), OPERATION_TIME),
  many: () => new MemoryHost(manyEnvs(40), OPERATION_TIME),
  fleet: () => new MemoryHost(manyEnvs(500), OPERATION_TIME),
  "edge-cases": () => new MemoryHost(edgeCases(), OPERATION_TIME),
  "no-engine": () => new MemoryHost({ engines: NO_ENGINES, projects: [] }),
  "no-project": () => new MemoryHost({ engines: [LXD], projects: [] }),
  "no-env": () =>
    new MemoryHost({ engines: [LXD], projects: [project("webapp", "/home/ada/src/webapp")] }),
  failed: () => {
    const host = new MemoryHost(typicalDay());
    host.watchError = {
      kind: "internal",
      message: "the app is not responding",
      hint: "quit the app from its tray menu, then start it again",
    };
    return host;
  },
};

/** A host for the page in a browser, with the scene of `?scene=many`. */
export function demoHost(scene: string | null): Host {
  return (SCENES[scene ?? "day"] ?? SCENES.day)?.() ?? new MemoryHost(typicalDay(), OPERATION_TIME);
}
