// @vitest-environment jsdom
import { render, screen } from "@testing-library/svelte";
import { expect, it } from "vitest";
import Inspector from "../components/Inspector.svelte";
import envs from "../demo/envs.gen.json";
import { env } from "../demo/fixtures";
import { disabledReasons, powerAction } from "./disabled-reasons";
import type { EnvView } from "./types.gen";

const ENVS = envs as unknown as EnvView[];
const ENV_REF = { project_path: "/p", env: "main" };

it.each(ENVS.map((env) => [env.status, env.operation ? "busy" : "idle", env] as const))(
  "the window offers what core allows: %s, %s",
  (status, _, env) => {
    render(Inspector, {
      env,
      envRef: ENV_REF,
      disabled: disabledReasons(env, false),
      act: () => {},
    });
    if (status === "not-found") {
      expect(screen.queryByTestId("terminal")).toBeNull();
      return;
    }
    const power = powerAction(env);
    const buttons = [
      ["terminal", env.actions.terminal],
      [power, env.actions[power]],
      ["take-snapshot", env.actions.snapshot],
      ["restore-before", env.actions.restore],
      ["undo", env.actions.undo],
    ] as const;
    for (const [testid, reason] of buttons) {
      const disabled = screen.getByTestId(testid).getAttribute("aria-disabled") === "true";
      expect(disabled, `${testid}: ${reason}`).toBe(reason !== null);
    }
  },
);

it("disables changes while an action is pending, but not the terminal", () => {
  const reasons = disabledReasons(env("p", "main"), true);
  expect(reasons.stop).toBe("main is waiting for the previous action");
  expect(reasons.terminal).toBeNull();
});

it("the power action stops a running env and starts any other", () => {
  const actions = (["running", "stopped", "frozen"] as const).map((status) =>
    powerAction(env("p", "main", { status })),
  );
  expect(actions).toEqual(["stop", "start", "start"]);
});
