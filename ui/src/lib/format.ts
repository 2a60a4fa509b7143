/** Numbers, times and names as people read them. */
import type { ProjectView } from "./types.gen";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

// The page is in English; its dates are too, in the order that most of its readers use.
const LOCALE = "en-GB";
const thisYear = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const otherYear = new Intl.DateTimeFormat(LOCALE, {
  day: "numeric",
  month: "short",
  year: "numeric",
});
const toTheSecond = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const toTheMinute = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });

/** `just now`, `5 min ago`, `2 h ago`, `3 d ago`, then the day. */
export function relativeTime(iso: string, now: number): string {
  const then = Date.parse(iso);
  // Clocks of two machines differ a little: a time just ahead of ours is now.
  const age = Math.max(0, now - then);
  if (age < MINUTE) return "just now";
  if (age < HOUR) return `${Math.floor(age / MINUTE)} min ago`;
  if (age < DAY) return `${Math.floor(age / HOUR)} h ago`;
  if (age < 7 * DAY) return `${Math.floor(age / DAY)} d ago`;
  return day(then, now);
}

/** The exact time, in this machine's time zone. */
export function exactTime(iso: string): string {
  return toTheSecond.format(Date.parse(iso));
}

/** `14:02`, or the day if it isn't of today. */
export function clockTime(iso: string, now: number): string {
  const then = Date.parse(iso);
  const today = new Date(then).toDateString() === new Date(now).toDateString();
  return today ? toTheMinute.format(then) : day(then, now);
}

function day(then: number, now: number): string {
  const sameYear = new Date(then).getFullYear() === new Date(now).getFullYear();
  return (sameYear ? thisYear : otherYear).format(then);
}

/** How long something has been going on: `3 s`, `1 min 5 s`, `1 h 20 min`. */
export function duration(since: string, now: number): string {
  const age = Math.max(0, now - Date.parse(since));
  const seconds = Math.floor(age / SECOND) % 60;
  const minutes = Math.floor(age / MINUTE) % 60;
  if (age < MINUTE) return `${seconds} s`;
  if (age < HOUR) return seconds === 0 ? `${minutes} min` : `${minutes} min ${seconds} s`;
  return `${Math.floor(age / HOUR)} h ${minutes} min`;
}

/** A size in binary units: `512 MiB`, `1.5 GiB`. */
export function bytes(size: number): string {
  const step = size < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(size) / 10));
  const value = size / 1024 ** step;
  return `${value >= 100 ? Math.round(value) : Math.round(value * 10) / 10} ${UNITS[step]}`;
}

/** `1 snapshot`, `3 snapshots`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A project's name, or its directory's where the file gives none. */
export function projectLabel(project: Pick<ProjectView, "name" | "path">): string {
  return (
    project.name ?? project.path.split(/[\\/]/).findLast((part) => part !== "") ?? project.path
  );
}

/** How much of a name's end always stays: enough to tell `…-retry-1` from `…-retry-2`. */
const TAIL = 8;

/** A name in two parts, of which the first may be cut: names are never cut at their end. */
export function splitName(name: string): readonly [head: string, tail: string] {
  const letters = [...name];
  if (letters.length <= 2 * TAIL) return [name, ""];
  return [letters.slice(0, -TAIL).join(""), letters.slice(-TAIL).join("")];
}

/** Text with `code` in backticks, in pieces. */
export function pieces(text: string): readonly { readonly code: boolean; readonly text: string }[] {
  return text
    .split("`")
    .map((part, index) => ({ code: index % 2 === 1, text: part }))
    .filter((piece) => piece.text !== "");
}
