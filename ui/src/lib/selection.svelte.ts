import { SvelteMap } from "svelte/reactivity";
import { ENGINE_LABELS, STATUS_LABELS } from "./labels";
import type { EnvRef, EnvView, ProjectView, View } from "./types.gen";

/** The selected project and env. Survives changes of the view. */
export class Selection {
  readonly #view: () => View | null;
  #path = $state<string | null>(null);
  #filter = $state("");
  /** Name of the selected env by project path. */
  readonly #envNames = new SvelteMap<string, string>();
  /** Last selected row: when its env disappears, the env that moves there is selected. */
  #index = $state(0);

  constructor(view: () => View | null) {
    this.#view = view;
  }

  readonly projects: readonly ProjectView[] = $derived.by(() => this.#view()?.projects ?? []);

  readonly project: ProjectView | null = $derived(
    this.projects.find((project) => project.path === this.#path) ?? this.projects[0] ?? null,
  );

  /** The envs that match the filter. */
  readonly rows: readonly EnvView[] = $derived.by(() => {
    const envs = this.project?.envs ?? [];
    const terms = this.#filter.toLowerCase().split(/\s+/).filter(Boolean);
    if (terms.length === 0) return envs;
    return envs.filter((env) => terms.every((term) => searchText(env).includes(term)));
  });

  readonly env: EnvView | null = $derived.by(() => {
    const name = this.project ? this.#envNames.get(this.project.path) : undefined;
    const fallback = this.rows.at(Math.min(this.#index, this.rows.length - 1));
    return this.rows.find((env) => env.name === name) ?? fallback ?? null;
  });

  readonly envRef: EnvRef | null = $derived(
    this.project && this.env ? { project_path: this.project.path, env: this.env.name } : null,
  );

  get filter(): string {
    return this.#filter;
  }

  set filter(text: string) {
    this.#filter = text;
    this.#index = 0;
  }

  /** Keeps the current project selected when another one is sorted before it. */
  pinProject(): void {
    if (this.project) this.#path = this.project.path;
  }

  selectProject(path: string): void {
    if (path === this.project?.path) return;
    this.#path = path;
    this.filter = "";
  }

  selectEnv(name: string): void {
    if (!this.project) return;
    this.#envNames.set(this.project.path, name);
    this.#index = Math.max(
      0,
      this.rows.findIndex((env) => env.name === name),
    );
  }

  /** Moves by `steps` rows, clamped to the first and last row. */
  move(steps: number): void {
    const index = this.env ? this.rows.indexOf(this.env) : 0;
    const next = this.rows[Math.min(this.rows.length - 1, Math.max(0, index + steps))];
    if (next) this.selectEnv(next.name);
  }
}

function searchText(env: EnvView): string {
  const ports = env.ports.flatMap((port) => [port.guest, port.host]);
  const engine = env.engine ? ENGINE_LABELS[env.engine] : "";
  const status = STATUS_LABELS[env.status];
  return [env.name, env.image ?? "", engine, status, env.address ?? "", ...ports]
    .join(" ")
    .toLowerCase();
}
