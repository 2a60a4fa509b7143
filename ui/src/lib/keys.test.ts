// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";
import { command } from "./keys";

afterEach(() => document.body.replaceChildren());

function pressed(key: string, on: Element = document.body, more: KeyboardEventInit = {}) {
  let event = new KeyboardEvent("keydown");
  on.addEventListener(
    "keydown",
    (heard) => {
      event = heard as KeyboardEvent;
    },
    { once: true },
  );
  on.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  return command(event);
}

function element(tag: string): Element {
  const made = document.createElement(tag);
  document.body.append(made);
  return made;
}

describe("keys", () => {
  it.each([
    ["ArrowUp", "previous"],
    ["ArrowDown", "next"],
    ["Home", "first"],
    ["End", "last"],
    ["Enter", "terminal"],
    [" ", "power"],
    ["s", "snapshot"],
    ["S", "snapshot"],
    ["r", "restore"],
    ["/", "filter"],
    ["Escape", "escape"],
    ["x", null],
  ])("%j mean %s", (key, meaning) => {
    expect(pressed(key)).toBe(meaning);
  });

  it("leave typing alone, but for Escape", () => {
    const field = element("input");
    expect(["s", " ", "Enter", "/", "ArrowDown"].map((key) => pressed(key, field))).toEqual(
      Array(5).fill(null),
    );
    expect(pressed("Escape", field)).toBe("escape");
  });

  it("leave Enter and Space to a button", () => {
    const button = element("button");
    expect([pressed("Enter", button), pressed(" ", button)]).toEqual([null, null]);
    expect(pressed("s", button)).toBe("snapshot");
  });

  it("leave shortcuts of the system alone", () => {
    expect(pressed("r", document.body, { ctrlKey: true })).toBeNull();
    expect(pressed("s", document.body, { metaKey: true })).toBeNull();
  });

  it("held down move, and do nothing else again", () => {
    expect(pressed("ArrowDown", document.body, { repeat: true })).toBe("next");
    expect(pressed(" ", document.body, { repeat: true })).toBeNull();
  });

  it("that compose a letter are the letter's", () => {
    expect(pressed("Escape", document.body, { isComposing: true })).toBeNull();
  });
});
