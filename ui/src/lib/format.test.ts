import { describe, expect, it } from "vitest";
import {
  bytes,
  clockTime,
  count,
  duration,
  exactTime,
  pieces,
  projectLabel,
  relativeTime,
  splitName,
} from "./format";

const NOW = new Date(2026, 4, 20, 14, 2, 30).getTime();
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function earlier(milliseconds: number): string {
  return new Date(NOW - milliseconds).toISOString();
}

describe("relative times", () => {
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
  ])("say %i ms as %s", (age, text) => {
    expect(relativeTime(earlier(age), NOW)).toBe(text);
  });

  it("have an exact one beside them, to the second", () => {
    expect(exactTime(earlier(0))).toMatch(/20 May 2026.*14:02:30/);
  });

  it("of today are a time of day", () => {
    expect(clockTime(earlier(0), NOW)).toBe("14:02");
    expect(clockTime(earlier(2 * DAY), NOW)).toBe("18 May");
  });
});

it.each([
  [0, "0 s"],
  [3.9 * SECOND, "3 s"],
  [MINUTE, "1 min"],
  [65 * SECOND, "1 min 5 s"],
  [80 * MINUTE, "1 h 20 min"],
  [-SECOND, "0 s"],
])("a duration of %i ms is %s", (age, text) => {
  expect(duration(earlier(age), NOW)).toBe(text);
});

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1 KiB"],
  [1.5 * 2 ** 30, "1.5 GiB"],
  [512 * 2 ** 20, "512 MiB"],
  [50 * 2 ** 30, "50 GiB"],
  [2 ** 60, "1024 PiB"],
])("%i bytes are %s", (size, text) => {
  expect(bytes(size)).toBe(text);
});

it("counts are singular for one", () => {
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
])("the label of %j is %s", (project, label) => {
  expect(projectLabel(project)).toBe(label);
});

describe("names", () => {
  it("that are short stay whole", () => {
    expect(splitName("feature-login")).toEqual(["feature-login", ""]);
  });

  it("that are long keep their end", () => {
    expect(splitName("feature-login-retry-2")).toEqual(["feature-login", "-retry-2"]);
  });

  it("are not cut within a letter", () => {
    expect(splitName("👩‍💻".repeat(20)).join("")).toBe("👩‍💻".repeat(20));
  });
});

it("text in backticks is code", () => {
  expect(pieces("run `doctor` now")).toEqual([
    { code: false, text: "run " },
    { code: true, text: "doctor" },
    { code: false, text: " now" },
  ]);
  expect(pieces("")).toEqual([]);
});
