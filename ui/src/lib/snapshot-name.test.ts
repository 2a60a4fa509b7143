import { expect, it } from "vitest";
import { snapshotNameError } from "./snapshot-name";

it.each(["", "before-migration", "v1.2_rc", "7", "a".repeat(63)])(
  "accepts snapshot name “%s”",
  (name) => {
    expect(snapshotNameError(name, ["seeded"])).toBeNull();
  },
);

it.each(["-x", ".x", "two words", "a/b", "é", "a".repeat(64), "seeded"])(
  "rejects snapshot name “%s”",
  (name) => {
    expect(snapshotNameError(name, ["seeded"])).not.toBeNull();
  },
);
