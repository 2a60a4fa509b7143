/** Why a snapshot name is invalid; `null` if it is valid. The core applies the same rule. */
export function snapshotNameError(name: string, existing: readonly string[]): string | null {
  if (name === "") return null;
  if (!/^[A-Za-z0-9]/.test(name)) return "Must start with a letter or a digit";
  if (!/^[A-Za-z0-9._-]+$/.test(name)) return "Use only letters, digits, “-”, “_” and “.”";
  if (name.length > 63) return "Use at most 63 characters";
  return existing.includes(name) ? "A snapshot with this name exists" : null;
}
