// @vitest-environment jsdom
import { fireEvent, render, screen } from "@testing-library/svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ago, port, snapshot } from "../demo/fixtures";
import CopyButton from "./CopyButton.svelte";
import OperationStatus from "./OperationStatus.svelte";
import PortList from "./PortList.svelte";
import Timeline from "./Timeline.svelte";
import Tooltip from "./Tooltip.svelte";

const ENV_REF = { project_path: "/p", env: "main" };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

/** Advances the clock and renders. */
const advance = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

describe("time", () => {
  it("of an operation advances every second", async () => {
    const operation = {
      id: "1",
      verb: "restore",
      step: null,
      percent: null,
      started_at: ago(0),
    } as const;
    const { container, unmount } = render(OperationStatus, { operation });
    expect(container.textContent).toContain("0 s");
    await advance(3000);
    expect(container.textContent).toContain("3 s");
    unmount();
    await advance(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("of a snapshot advances every minute, with no faster timer", async () => {
    const setInterval = vi.spyOn(globalThis, "setInterval");
    render(Timeline, {
      snapshots: [snapshot("seeded", 0)],
      undo: null,
      envRef: ENV_REF,
      disabled: { restore: null, undo: null },
      act: () => {},
    });
    expect(screen.getByTestId("snapshot-seeded").textContent).toContain("just now");
    await advance(61_000);
    expect(screen.getByTestId("snapshot-seeded").textContent).toContain("1 min ago");
    expect(setInterval.mock.calls.map(([, interval]) => interval)).toEqual([60_000]);
  });
});

describe("step", () => {
  const textAt = (step: string) => {
    const operation = {
      id: "1",
      verb: "restore",
      step,
      percent: null,
      started_at: ago(0),
    } as const;
    return render(OperationStatus, { operation }).container.textContent;
  };

  it("is shown without backquotes", () => {
    expect(textAt("taking the snapshot `initial-state`")).not.toContain("`");
  });

  it("is omitted if it repeats the operation", () => {
    expect(textAt("restoring")).toMatch(/^\s*restoring…\s+0 s\s*$/);
  });
});

describe("CopyButton", () => {
  it("copies, and confirms it for a moment", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    render(CopyButton, { text: "10.0.0.1", label: "Copy address" });
    await fireEvent.click(screen.getByLabelText("Copy address"));
    await advance(0);
    expect(writeText).toHaveBeenCalledWith("10.0.0.1");
    expect(screen.getByLabelText("Copied")).toBeTruthy();
    await advance(2000);
    expect(screen.getByLabelText("Copy address")).toBeTruthy();
  });

  it("falls back if the clipboard API is rejected", async () => {
    vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.reject(new Error("no")) } });
    let copied = "";
    document.execCommand = () => {
      copied = (document.activeElement as HTMLTextAreaElement).value;
      return true;
    };
    render(CopyButton, { text: "10.0.0.1", label: "Copy address" });
    const button = screen.getByLabelText("Copy address");
    button.focus();
    await fireEvent.click(button);
    await advance(0);
    expect(copied).toBe("10.0.0.1");
    expect(document.activeElement).toBe(button);
    expect(document.querySelector("textarea")).toBeNull();
  });
});

describe("Tooltip", () => {
  function renderTarget(attributes: Record<string, string>): Element {
    render(Tooltip);
    const element = document.createElement("span");
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    document.body.append(element);
    return element;
  }
  const tooltip = () => document.querySelector(".tooltip")?.textContent.trim();

  it("shows text and shortcut after a delay", async () => {
    await fireEvent.pointerOver(
      renderTarget({ "data-tooltip": "Open a terminal", "data-shortcut": "Enter" }),
    );
    await advance(300);
    expect(tooltip()).toBeUndefined();
    await advance(300);
    expect(tooltip()).toBe("Open a terminal Enter");
  });

  it("disappears on a key press", async () => {
    const element = renderTarget({ "data-tooltip": "Stop" });
    await fireEvent.pointerOver(element);
    await advance(600);
    await fireEvent.keyDown(element, { key: "x" });
    expect(tooltip()).toBeUndefined();
  });

  it("is not shown for a name that fits", async () => {
    await fireEvent.pointerOver(renderTarget({ "data-tooltip-if-truncated": "main" }));
    await advance(600);
    expect(tooltip()).toBeUndefined();
  });

  it("is shown for a truncated name", async () => {
    const element = renderTarget({ "data-tooltip-if-truncated": "feature-login" });
    Object.defineProperty(element, "scrollWidth", { value: 200 });
    await fireEvent.pointerOver(element);
    await advance(600);
    expect(tooltip()).toBe("feature-login");
  });
});

describe("PortList", () => {
  it("opens and focuses forwarded ports only", async () => {
    const act = vi.fn();
    const ports = [
      port(5173, { state: "forwarded", focused: true }),
      port(8000, { state: "forwarded", reach: "everywhere" }),
      port(5432),
    ];
    const { container } = render(PortList, { ports, envRef: ENV_REF, act });
    await fireEvent.click(screen.getByTestId("focus-8000"));
    expect(act).toHaveBeenLastCalledWith({ action: "focus", env: ENV_REF, port: 8000 });
    await fireEvent.click(screen.getByTestId("open-5173"));
    expect(act).toHaveBeenLastCalledWith({ action: "open-port", env: ENV_REF, port: 5173 });
    expect(screen.queryByTestId("focus-5173")).toBeNull();
    expect(screen.queryByTestId("open-5432")).toBeNull();
    expect(container.textContent).toContain("open to everywhere");
  });
});
