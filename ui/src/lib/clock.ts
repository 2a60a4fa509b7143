import { createSubscriber } from "svelte/reactivity";

/**
 * The time, as something to draw from. Its timer runs only while something on the screen reads it:
 * an idle page has none that fires more than once a minute.
 */
class Clock {
  readonly #subscribe: () => void;

  constructor(interval: number) {
    this.#subscribe = createSubscriber((update) => {
      const timer = setInterval(update, interval);
      return () => clearInterval(timer);
    });
  }

  /** Milliseconds since the epoch. */
  get now(): number {
    this.#subscribe();
    return Date.now();
  }
}

/** For work in progress. */
export const seconds = new Clock(1000);
/** For ages of things. */
export const minutes = new Clock(60_000);
