import type { Action, ViewEvent } from "./types.gen";

/** All that the page knows of the world outside of it. */
export interface Host {
  /**
   * Subscribes to the view: the whole of it first, then its changes. A later call starts anew, and
   * what the earlier one still sends is to be ignored. Rejects with an `ErrorReport`.
   */
  watch(listener: (event: ViewEvent) => void): Promise<void>;
  /** Asks for something to be done. Rejects with an `ErrorReport`. */
  act(action: Action): Promise<void>;
  /** Closes this window. */
  close(): Promise<void>;
}
