import type { Host } from "./host";
import { toReport } from "./report";
import type { ErrorReport, Outcome, View, ViewEvent } from "./types.gen";
import { type Folded, fold, nothingYet, resubscribed } from "./view";

/** The view as it is now, kept up by a subscription that starts anew when something was lost. */
export class Live {
  /** What to show; `null` until the first whole view has come. */
  view = $state.raw<View | null>(null);
  /** Why there is no subscription. */
  failure = $state.raw<ErrorReport | null>(null);

  readonly #host: Host;
  readonly #finished: (outcome: Outcome) => void;
  #folded: Folded = nothingYet();
  /** Which subscription is heard; what earlier ones still send is not. */
  #turn = 0;

  constructor(host: Host, finished: (outcome: Outcome) => void) {
    this.#host = host;
    this.#finished = finished;
  }

  /** Subscribes, for the first time or once more. */
  async connect(): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    this.#folded = resubscribed(this.#folded);
    this.failure = null;
    try {
      await this.#host.watch((event) => {
        if (turn === this.#turn) this.#take(event);
      });
    } catch (cause) {
      if (turn === this.#turn) this.failure = toReport(cause);
    }
  }

  #take(event: ViewEvent): void {
    const result = fold(this.#folded, event);
    if (result.kind === "gap") {
      void this.connect();
      return;
    }
    this.#folded = result.state;
    this.view = result.state.view;
    if (event.patch.kind === "finished") this.#finished(event.patch.outcome);
  }
}
