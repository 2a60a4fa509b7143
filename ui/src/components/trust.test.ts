// @vitest-environment jsdom
import { fireEvent, render, screen } from "@testing-library/svelte";
import { expect, it, vi } from "vitest";
import TrustBanner from "./TrustBanner.svelte";

const TOKEN = { text: "passes on the variable TOKEN in `dev`", is_sensitive: false };
const HOME = { text: "mounts /home/me at /h, writable, in `dev`", is_sensitive: true };

it("allows exactly the parts that it shows", async () => {
  const trust = vi.fn(async () => {});
  render(TrustBanner, { path: "/p", parts: [TOKEN], trust });
  expect(screen.getByTestId("trust").textContent).toContain("passes on the variable TOKEN");
  expect(screen.queryByTestId("trust-allow-all")).toBeNull();
  await fireEvent.click(screen.getByTestId("trust-allow"));
  expect(trust).toHaveBeenCalledExactlyOnceWith("/p", [TOKEN.text]);
});

it("asks for sensitive parts apart", async () => {
  const trust = vi.fn(async () => {});
  render(TrustBanner, { path: "/p", parts: [TOKEN, HOME], trust });
  await fireEvent.click(screen.getByTestId("trust-allow"));
  expect(trust).toHaveBeenLastCalledWith("/p", [TOKEN.text]);
  await fireEvent.click(screen.getByTestId("trust-allow-all"));
  expect(trust).toHaveBeenLastCalledWith("/p", [TOKEN.text, HOME.text]);
});

it("shows why a consent was refused", async () => {
  const trust = vi.fn(async () => {
    throw { kind: "conflict", message: "containers.yaml has changed", hint: "review it again" };
  });
  render(TrustBanner, { path: "/p", parts: [HOME], trust });
  expect(screen.queryByTestId("trust-allow")).toBeNull();
  await fireEvent.click(screen.getByTestId("trust-allow-all"));
  expect((await screen.findByRole("alert")).textContent).toContain("containers.yaml has changed");
});
