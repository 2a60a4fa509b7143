/** Keyboard shortcuts of the window. App.svelte runs them; tooltips show them. */

export type ShortcutCommand =
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

/** A key as displayed, and as `aria-keyshortcuts` expects it. */
export interface Shortcut {
  readonly label: string;
  readonly aria: string;
}

export const SHORTCUTS = {
  terminal: { label: "Enter", aria: "Enter" },
  power: { label: "Space", aria: "Space" },
  snapshot: { label: "S", aria: "S" },
  restore: { label: "R", aria: "R" },
  filter: { label: "/", aria: "/" },
  escape: { label: "Esc", aria: "Escape" },
} as const satisfies Partial<Record<ShortcutCommand, Shortcut>>;

const COMMANDS: Record<string, ShortcutCommand> = {
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

/** Commands that repeat while the key is held down. */
const REPEATABLE: readonly ShortcutCommand[] = ["previous", "next"];

/** The command of a key press; `null` if there is none, or the focused element handles the key. */
export function shortcutCommand(event: KeyboardEvent): ShortcutCommand | null {
  if (event.defaultPrevented || event.isComposing) return null;
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const command = COMMANDS[key] ?? null;
  if (command === null || (event.repeat && !REPEATABLE.includes(command))) return null;
  if (command === "escape" || !(event.target instanceof Element)) return command;
  if (event.target.closest("input, textarea, select")) return null;
  // Enter and Space press the focused button.
  const presses = command === "terminal" || command === "power";
  return presses && event.target.closest("button, a[href]") ? null : command;
}
