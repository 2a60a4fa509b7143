// @vitest-environment jsdom
import { afterEach, describe, expect, it } from "vitest";
import { shortcutCommand } from "./shortcuts";

afterEach(() => document.body.replaceChildren());

function commandFor(key: string, on: Element = document.body, more: KeyboardEventInit = {}) {
  let event = new KeyboardEvent("keydown");
  on.addEventListener(
    "keydown",
    (dispatched) => {
      event = dispatched as KeyboardEvent;
    },
    { once: true },
  );
  on.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  return shortcutCommand(event);
}

function element(tag: string): Element {
  const created = document.createElement(tag);
  document.body.append(created);
  return created;
}

describe("shortcutCommand", () => {
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
  ])("maps %j to %s", (key, command) => {
    expect(commandFor(key)).toBe(command);
  });

  it("ignores keys typed in a field, except Escape", () => {
    const field = element("input");
    expect(["s", " ", "Enter", "/", "ArrowDown"].map((key) => commandFor(key, field))).toEqual(
      Array(5).fill(null),
    );
    expect(commandFor("Escape", field)).toBe("escape");
  });

  it("leaves Enter and Space to a focused button", () => {
    const button = element("button");
    expect([commandFor("Enter", button), commandFor(" ", button)]).toEqual([null, null]);
    expect(commandFor("s", button)).toBe("snapshot");
  });

  it("ignores system shortcuts", () => {
    expect(commandFor("r", document.body, { ctrlKey: true })).toBeNull();
    expect(commandFor("s", document.body, { metaKey: true })).toBeNull();
  });

  it("repeats only moves while a key is held down", () => {
    expect(commandFor("ArrowDown", document.body, { repeat: true })).toBe("next");
    expect(commandFor(" ", document.body, { repeat: true })).toBeNull();
  });

  it("ignores keys during composition", () => {
    expect(commandFor("Escape", document.body, { isComposing: true })).toBeNull();
  });
});
