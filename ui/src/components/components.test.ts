// @vitest-environment jsdom
import { fireEvent, render, screen } from "@testing-library/svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ago, port, snapshot } from "../demo/world";
import Copy from "./Copy.svelte";
import Operation from "./Operation.svelte";
import Ports from "./Ports.svelte";
import Timeline from "./Timeline.svelte";
import Tooltip from "./Tooltip.svelte";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

/** Lets that much time pass, and what it changed be drawn. */
const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

describe("time", () => {
  it("of work in progress goes on by the second", async () => {
    const operation = {
      id: "1",
      verb: "restore",
      step: null,
      percent: null,
      started_at: ago(0),
    } as const;
    const { container, unmount } = render(Operation, { operation });
    expect(container.textContent).toContain("0 s");
    await pass(3000);
    expect(container.textContent).toContain("3 s");
    unmount();
    await pass(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("of a snapshot goes on by the minute, and no timer fires more often", async () => {
    const every = vi.spyOn(globalThis, "setInterval");
    const refusals = { restore: null, undo: null };
    const nothing = () => {};
    render(Timeline, {
      snapshots: [snapshot("seeded", 0)],
      undo: null,
      refusals,
      onrestore: nothing,
      onundo: nothing,
    });
    expect(screen.getByTestId("snapshot-seeded").textContent).toContain("just now");
    await pass(61_000);
    expect(screen.getByTestId("snapshot-seeded").textContent).toContain("1 min ago");
    expect(every.mock.calls.map(([, interval]) => interval)).toEqual([60_000]);
  });
});

describe("a step", () => {
  const at = (step: string) => {
    const operation = {
      id: "1",
      verb: "restore",
      step,
      percent: null,
      started_at: ago(0),
    } as const;
    return render(Operation, { operation }).container.textContent;
  };

  it("is told beside the operation, with what it quotes set as code", () => {
    expect(at("taking the snapshot `initial-state`")).not.toContain("`");
  });

  it("that only says the operation's name again is left out", () => {
    expect(at("restoring")).toMatch(/^\s*restoring…\s+0 s\s*$/);
  });
});

describe("a copy", () => {
  it("goes to the clipboard, and says so for a while", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    render(Copy, { text: "10.0.0.1", what: "the address" });
    await fireEvent.click(screen.getByLabelText("Copy the address"));
    await pass(0);
    expect(writeText).toHaveBeenCalledWith("10.0.0.1");
    expect(screen.getByLabelText("Copied")).toBeTruthy();
    await pass(2000);
    expect(screen.getByLabelText("Copy the address")).toBeTruthy();
  });

  it("finds another way where the clipboard is refused", async () => {
    vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.reject(new Error("no")) } });
    let copied = "";
    document.execCommand = () => {
      copied = (document.activeElement as HTMLTextAreaElement).value;
      return true;
    };
    render(Copy, { text: "10.0.0.1", what: "the address" });
    const button = screen.getByLabelText("Copy the address");
    button.focus();
    await fireEvent.click(button);
    await pass(0);
    expect(copied).toBe("10.0.0.1");
    expect(document.activeElement).toBe(button);
    expect(document.querySelector("textarea")).toBeNull();
  });
});

describe("a tip", () => {
  function place(attributes: Record<string, string>): Element {
    render(Tooltip);
    const element = document.createElement("span");
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    document.body.append(element);
    return element;
  }
  const tip = () => document.querySelector(".tip")?.textContent.trim();

  it("shows what is said, and the key, after a while", async () => {
    await fireEvent.pointerOver(place({ "data-tip": "Open a terminal", "data-key": "Enter" }));
    await pass(300);
    expect(tip()).toBeUndefined();
    await pass(300);
    expect(tip()).toBe("Open a terminal Enter");
  });

  it("goes when a key is pressed", async () => {
    const element = place({ "data-tip": "Stop" });
    await fireEvent.pointerOver(element);
    await pass(600);
    await fireEvent.keyDown(element, { key: "x" });
    expect(tip()).toBeUndefined();
  });

  it("is not shown for a name that isn't cut", async () => {
    await fireEvent.pointerOver(place({ "data-tip-if-cut": "main" }));
    await pass(600);
    expect(tip()).toBeUndefined();
  });

  it("is shown for a name that is", async () => {
    const element = place({ "data-tip-if-cut": "feature-login" });
    Object.defineProperty(element, "scrollWidth", { value: 200 });
    await fireEvent.pointerOver(element);
    await pass(600);
    expect(tip()).toBe("feature-login");
  });
});

describe("ports", () => {
  it("can be opened and given the focus where they are forwarded", async () => {
    const [onopen, onfocus] = [vi.fn(), vi.fn()];
    const ports = [
      port(5173, { state: "forwarded", focused: true }),
      port(8000, { state: "forwarded", reach: "everywhere" }),
      port(5432),
    ];
    const { container } = render(Ports, { ports, onopen, onfocus });
    await fireEvent.click(screen.getByTestId("focus-8000"));
    expect(onfocus).toHaveBeenCalledWith(ports[1]);
    await fireEvent.click(screen.getByTestId("open-5173"));
    expect(onopen).toHaveBeenCalledWith(ports[0]);
    expect(screen.queryByTestId("focus-5173")).toBeNull();
    expect(screen.queryByTestId("open-5432")).toBeNull();
    expect(container.textContent).toContain("open to everywhere");
  });
});
