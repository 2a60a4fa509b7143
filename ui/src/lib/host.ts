import type { Action, ViewEvent } from "./types.gen";

/** The page's only interface to the app. */
export interface Host {
  /**
   * Subscribes to the view: a full view first, then changes. Events of earlier subscriptions must be
   * ignored. Rejects with an `ErrorReport`.
   */
  watch(listener: (event: ViewEvent) => void): Promise<void>;
  /** Performs an action. Rejects with an `ErrorReport`. */
  act(action: Action): Promise<void>;
  /** Allows parts of a project's file, by their texts. Rejects with an `ErrorReport`. */
  trust(path: string, parts: string[]): Promise<void>;
  /** Closes this window. */
  close(): Promise<void>;
}
