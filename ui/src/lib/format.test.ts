import { describe, expect, it } from "vitest";
import {
  bytes,
  clockTime,
  count,
  duration,
  exactTime,
  projectLabel,
  relativeTime,
  splitName,
  textSegments,
} from "./format";

const NOW = new Date(2026, 4, 20, 14, 2, 30).getTime();
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function timestamp(milliseconds: number): string {
  return new Date(NOW - milliseconds).toISOString();
}

describe("times", () => {
  it.each([
    [0, "just now"],
    [-5 * SECOND, "just now"],
    [59 * SECOND, "just now"],
    [MINUTE, "1 min ago"],
    [59 * MINUTE, "59 min ago"],
    [2 * HOUR, "2 h ago"],
    [23.9 * HOUR, "23 h ago"],
    [DAY, "1 d ago"],
    [6.9 * DAY, "6 d ago"],
    [8 * DAY, "12 May"],
    [365 * DAY, "20 May 2025"],
  ])("format %i ms as %s", (age, text) => {
    expect(relativeTime(timestamp(age), NOW)).toBe(text);
  });

  it("are exact to the second in exactTime", () => {
    expect(exactTime(timestamp(0))).toMatch(/20 May 2026.*14:02:30/);
  });

  it("of today have no date in clockTime", () => {
    expect(clockTime(timestamp(0), NOW)).toBe("14:02");
    expect(clockTime(timestamp(2 * DAY), NOW)).toBe("18 May");
  });
});

it.each([
  [0, "0 s"],
  [3.9 * SECOND, "3 s"],
  [MINUTE, "1 min"],
  [65 * SECOND, "1 min 5 s"],
  [80 * MINUTE, "1 h 20 min"],
  [-SECOND, "0 s"],
])("formats a duration of %i ms as %s", (age, text) => {
  expect(duration(timestamp(age), NOW)).toBe(text);
});

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1 KiB"],
  [1.5 * 2 ** 30, "1.5 GiB"],
  [512 * 2 ** 20, "512 MiB"],
  [50 * 2 ** 30, "50 GiB"],
  [2 ** 60, "1024 PiB"],
])("formats %i bytes as %s", (size, text) => {
  expect(bytes(size)).toBe(text);
});

it("uses the singular only for a count of one", () => {
  expect([count(0, "snapshot"), count(1, "snapshot"), count(2, "snapshot")]).toEqual([
    "0 snapshots",
    "1 snapshot",
    "2 snapshots",
  ]);
});

it.each([
  [{ name: "webapp", path: "/src/x" }, "webapp"],
  [{ name: null, path: "/home/ada/notes" }, "notes"],
  [{ name: null, path: "/home/ada/notes/" }, "notes"],
  [{ name: null, path: "/" }, "/"],
])("labels project %j %s", (project, label) => {
  expect(projectLabel(project)).toBe(label);
});

describe("names", () => {
  it("are not split when short", () => {
    expect(splitName("feature-login")).toEqual(["feature-login", ""]);
  });

  it("keep their tail when long", () => {
    expect(splitName("feature-login-retry-2")).toEqual(["feature-login", "-retry-2"]);
  });

  it("are not split within a code point", () => {
    expect(splitName("👩‍💻".repeat(20)).join("")).toBe("👩‍💻".repeat(20));
  });
});

it("marks text in backquotes as code", () => {
  expect(textSegments("run `doctor` now")).toEqual([
    { code: false, text: "run " },
    { code: true, text: "doctor" },
    { code: false, text: " now" },
  ]);
  expect(textSegments("")).toEqual([]);
});
