/** Why a snapshot can't be called so; `null` if it can. The backend checks again, with the same rule. */
export function nameProblem(name: string, taken: readonly string[]): string | null {
  if (name === "") return null;
  if (!/^[A-Za-z0-9]/.test(name)) return "It has to start with a letter or a digit.";
  if (!/^[A-Za-z0-9._-]+$/.test(name)) return "Only letters, digits, “-”, “_” and “.”, no blanks.";
  if (name.length > 63) return "It has to have 63 characters at most.";
  return taken.includes(name) ? "There is one of this name." : null;
}
