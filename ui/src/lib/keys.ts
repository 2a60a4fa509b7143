/** Keys of the whole window. What they do is App.svelte's; buttons name them in their tips. */

export type Command =
  | "previous"
  | "next"
  | "first"
  | "last"
  | "terminal"
  | "snapshot"
  | "restore"
  | "power"
  | "filter"
  | "escape";

/** As shown, and as `aria-keyshortcuts` wants it. */
export const KEYS = {
  terminal: { shown: "Enter", aria: "Enter" },
  power: { shown: "Space", aria: "Space" },
  snapshot: { shown: "S", aria: "S" },
  restore: { shown: "R", aria: "R" },
  filter: { shown: "/", aria: "/" },
  escape: { shown: "Esc", aria: "Escape" },
} as const;

const COMMANDS: Record<string, Command> = {
  ArrowUp: "previous",
  ArrowDown: "next",
  Home: "first",
  End: "last",
  Enter: "terminal",
  " ": "power",
  s: "snapshot",
  r: "restore",
  "/": "filter",
  Escape: "escape",
};

/** Those that a key held down may repeat. */
const MOVES: readonly Command[] = ["previous", "next"];

/** The command that a key means where the focus is; `null` if it is the focused element's own. */
export function command(event: KeyboardEvent): Command | null {
  if (event.defaultPrevented || event.isComposing) return null;
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const found = COMMANDS[key] ?? null;
  if (found === null || (event.repeat && !MOVES.includes(found))) return null;
  if (found === "escape" || !(event.target instanceof Element)) return found;
  if (event.target.closest("input, textarea, select")) return null;
  // Enter and Space press the button that has the focus.
  const presses = found === "terminal" || found === "power";
  return presses && event.target.closest("button, a[href]") ? null : found;
}
