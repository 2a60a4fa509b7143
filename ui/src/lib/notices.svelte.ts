import type { EnvRef, ErrorReport, Outcome } from "./types.gen";
import { done } from "./words";

/** How long a notice stays that nobody dismisses. */
export const STAYS = 15_000;

/** What the quiet bar says. */
export type Notice =
  | {
      readonly kind: "done";
      readonly text: string;
      readonly env: EnvRef;
      readonly undoable: boolean;
    }
  | { readonly kind: "failed"; readonly report: ErrorReport; readonly env: EnvRef };

/** The quiet bar: one notice at a time, the newest. An undo is to be had from the inspector too. */
export class Notices {
  current = $state.raw<Notice | null>(null);
  /** The newest thing to tell those who listen to the page. */
  spoken = $state("");
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** An operation ended. Its failure is shown by its row, so that here it is only spoken. */
  finished(outcome: Outcome): void {
    if (outcome.error) {
      this.spoken = `${outcome.env.env}: ${outcome.error.message}`;
      return;
    }
    const text = done(outcome);
    this.spoken = text;
    const worthABar = outcome.undoable || ["restore", "remove", "undo"].includes(outcome.verb);
    if (worthABar) {
      this.#show({ kind: "done", text, env: outcome.env, undoable: outcome.undoable });
    }
  }

  /** Something that was asked for was refused. Stays until dismissed: it may be read late. */
  refused(env: EnvRef, report: ErrorReport): void {
    this.spoken = report.message;
    this.#show({ kind: "failed", report, env });
    this.hold();
  }

  dismiss(): void {
    this.hold();
    this.current = null;
  }

  /** Keeps the notice: somebody is at it. */
  hold(): void {
    clearTimeout(this.#timer);
  }

  /** Lets it go its way again. */
  release(): void {
    this.hold();
    if (this.current?.kind === "done") this.#timer = setTimeout(() => this.dismiss(), STAYS);
  }

  #show(notice: Notice): void {
    this.current = notice;
    this.release();
  }
}
