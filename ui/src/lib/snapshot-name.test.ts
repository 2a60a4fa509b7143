import { expect, it } from "vitest";
import { nameProblem } from "./snapshot-name";

it.each(["", "before-migration", "v1.2_rc", "7", "a".repeat(63)])("“%s” is a name", (name) => {
  expect(nameProblem(name, ["seeded"])).toBeNull();
});

it.each(["-x", ".x", "two words", "a/b", "é", "a".repeat(64), "seeded"])("“%s” is none", (name) => {
  expect(nameProblem(name, ["seeded"])).not.toBeNull();
});
