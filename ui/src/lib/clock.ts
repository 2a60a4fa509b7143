import { createSubscriber } from "svelte/reactivity";

/** Reactive time. Its timer runs only while something on screen reads it. */
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

/** For durations of operations. */
export const seconds = new Clock(1000);
/** For ages of snapshots. */
export const minutes = new Clock(60_000);
