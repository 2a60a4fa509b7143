import { SvelteMap } from "svelte/reactivity";
import type { EnvRef, EnvView, ProjectView, View } from "./types.gen";
import { ENGINE, STATUS } from "./words";

/** Which project and which env are looked at. A choice outlives what the backend does to the view. */
export class Choice {
  readonly #view: () => View | null;
  #path = $state<string | null>(null);
  #filter = $state("");
  /** The chosen env of each project, by path. */
  readonly #names = new SvelteMap<string, string>();
  /** Where the choice stood last: when its env goes, the one that takes its place is chosen. */
  #index = $state(0);

  constructor(view: () => View | null) {
    this.#view = view;
  }

  readonly projects: readonly ProjectView[] = $derived.by(() => this.#view()?.projects ?? []);

  readonly project: ProjectView | null = $derived(
    this.projects.find((project) => project.path === this.#path) ?? this.projects[0] ?? null,
  );

  /** The envs that the filter lets through. */
  readonly rows: readonly EnvView[] = $derived.by(() => {
    const envs = this.project?.envs ?? [];
    const words = this.#filter.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length === 0) return envs;
    return envs.filter((env) => words.every((word) => searchable(env).includes(word)));
  });

  readonly env: EnvView | null = $derived.by(() => {
    const name = this.project ? this.#names.get(this.project.path) : undefined;
    const last = this.rows.at(Math.min(this.#index, this.rows.length - 1));
    return this.rows.find((env) => env.name === name) ?? last ?? null;
  });

  /** The chosen env as actions name it. */
  readonly ref: EnvRef | null = $derived(
    this.project && this.env ? { project_path: this.project.path, env: this.env.name } : null,
  );

  get filter(): string {
    return this.#filter;
  }

  set filter(text: string) {
    this.#filter = text;
    this.#index = 0;
  }

  /** Keeps what is shown, though a project that sorts before it may appear. */
  settle(): void {
    if (this.project) this.#path = this.project.path;
  }

  chooseProject(path: string): void {
    if (path === this.project?.path) return;
    this.#path = path;
    this.filter = "";
  }

  choose(name: string): void {
    if (!this.project) return;
    this.#names.set(this.project.path, name);
    this.#index = Math.max(
      0,
      this.rows.findIndex((env) => env.name === name),
    );
  }

  /** Moves the choice, and stops at the ends. */
  move(steps: number): void {
    const at = this.env ? this.rows.indexOf(this.env) : 0;
    const next = this.rows[Math.min(this.rows.length - 1, Math.max(0, at + steps))];
    if (next) this.choose(next.name);
  }
}

function searchable(env: EnvView): string {
  const ports = env.ports.flatMap((port) => [port.guest, port.host]);
  const engine = env.engine ? ENGINE[env.engine] : "";
  const words = [
    env.name,
    env.image ?? "",
    engine,
    STATUS[env.status],
    env.address ?? "",
    ...ports,
  ];
  return words.join(" ").toLowerCase();
}
