import { toErrorReport } from "./error-report";
import type { Host } from "./host";
import type { ErrorReport, Outcome, View, ViewEvent } from "./types.gen";
import { initialState, reduce, resubscribed, type ViewState } from "./view-reducer";

/** The current view. Subscribes again when an event was lost. */
export class ViewStore {
  /** `null` until the first full view is complete. */
  view = $state.raw<View | null>(null);
  /** Why the subscription failed. */
  error = $state.raw<ErrorReport | null>(null);

  readonly #host: Host;
  readonly #onFinished: (outcome: Outcome) => void;
  #state: ViewState = initialState();
  /** The current subscription: events of earlier ones are ignored. */
  #subscription = 0;

  constructor(host: Host, onFinished: (outcome: Outcome) => void) {
    this.#host = host;
    this.#onFinished = onFinished;
  }

  /** Subscribes, replacing any earlier subscription. */
  async connect(): Promise<void> {
    this.#subscription += 1;
    const subscription = this.#subscription;
    this.#state = resubscribed(this.#state);
    this.error = null;
    try {
      await this.#host.watch((event) => {
        if (subscription === this.#subscription) this.#receive(event);
      });
    } catch (cause) {
      if (subscription === this.#subscription) this.error = toErrorReport(cause);
    }
  }

  #receive(event: ViewEvent): void {
    const state = reduce(this.#state, event);
    if (state === "gap") {
      void this.connect();
      return;
    }
    this.#state = state;
    this.view = state.view;
    if (event.patch.kind === "finished") this.#onFinished(event.patch.outcome);
  }
}
