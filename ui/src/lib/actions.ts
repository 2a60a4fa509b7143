import type { Action } from "./types.gen";

/** Actions of the page itself: they never reach the host. */
export type UiAction =
  | { readonly action: "select-env"; readonly env: string }
  | { readonly action: "select-project"; readonly path: string }
  | { readonly action: "toggle-details" }
  | { readonly action: "dismiss-notification" };

/** Dispatches an action. Components report through this one callback. */
export type Act = (action: Action | UiAction) => void;
