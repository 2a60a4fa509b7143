/** Formats numbers, times and names for display. */
import type { ProjectView } from "./types.gen";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

// The page is in English, with the day before the month.
const LOCALE = "en-GB";
const dayAndMonth = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const dayMonthAndYear = new Intl.DateTimeFormat(LOCALE, {
  day: "numeric",
  month: "short",
  year: "numeric",
});
const fullDateTime = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const timeOfDay = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });

/** `just now`, `5 min ago`, `2 h ago`, `3 d ago`, then the date. */
export function relativeTime(iso: string, now: number): string {
  const then = Date.parse(iso);
  // Clocks of two machines may differ: a time in the future counts as now.
  const age = Math.max(0, now - then);
  if (age < MINUTE) return "just now";
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min ago`;
  if (age < DAY) return `${Math.floor(age / HOUR)} h ago`;
  if (age < 7 * DAY) return `${Math.floor(age / DAY)} d ago`;
  return date(then, now);
}

/** Date and time to the second, in the local time zone. */
export function exactTime(iso: string): string {
  return fullDateTime.format(Date.parse(iso));
}

/** `14:02`, or the date if it is not today. */
export function clockTime(iso: string, now: number): string {
  const then = Date.parse(iso);
  const today = new Date(then).toDateString() === new Date(now).toDateString();
  return today ? timeOfDay.format(then) : date(then, now);
}

function date(then: number, now: number): string {
  const sameYear = new Date(then).getFullYear() === new Date(now).getFullYear();
  return (sameYear ? dayAndMonth : dayMonthAndYear).format(then);
}

/** The time since `since`: `3 s`, `1 min 5 s`, `1 h 20 min`. */
export function duration(since: string, now: number): string {
  const age = Math.max(0, now - Date.parse(since));
  const seconds = Math.floor(age / SECOND) % 60;
  const minutes = Math.floor(age / MINUTE) % 60;
  if (age < MINUTE) return `${seconds} s`;
  if (age < HOUR) return seconds === 0 ? `${minutes} min` : `${minutes} min ${seconds} s`;
  return `${Math.floor(age / HOUR)} h ${minutes} min`;
}

/** A size in bytes in binary units: `512 MiB`, `1.5 GiB`. */
export function bytes(size: number): string {
  const step = size < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(size) / 10));
  const value = size / 1024 ** step;
  return `${value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${UNITS[step]}`;
}

/** `1 snapshot`, `3 snapshots`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A project's name, or else the name of its directory. */
export function projectLabel(project: Pick<ProjectView, "name" | "path">): string {
  return (
    project.name ?? project.path.split(/[\\/]/).findLast((part) => part !== "") ?? project.path
  );
}

/** Characters kept at a name's end: enough to tell `…-retry-1` from `…-retry-2`. */
const TAIL_LENGTH = 8;

/** Splits a name for truncation in the middle: only the head may be truncated. */
export function splitName(name: string): readonly [head: string, tail: string] {
  const characters = [...name];
  if (characters.length <= 2 * TAIL_LENGTH) return [name, ""];
  return [characters.slice(0, -TAIL_LENGTH).join(""), characters.slice(-TAIL_LENGTH).join("")];
}

/** A part of a message; `code` was in backquotes. */
export interface TextSegment {
  readonly code: boolean;
  readonly text: string;
}

/** Splits a message at its backquotes. */
export function textSegments(text: string): readonly TextSegment[] {
  return text
    .split("`")
    .map((part, index) => ({ code: index % 2 === 1, text: part }))
    .filter((segment) => segment.text !== "");
}
