import type { EnvRef, ErrorReport, Outcome } from "./types.gen";

/** How long the result of an operation is shown, in milliseconds. */
export const DISPLAY_TIME = 15_000;

const SHOWN_VERBS: readonly Outcome["verb"][] = ["restore", "remove", "undo"];

export type Notification =
  | {
      readonly kind: "done";
      readonly text: string;
      readonly env: EnvRef;
      readonly undoable: boolean;
    }
  | { readonly kind: "failed"; readonly report: ErrorReport; readonly env: EnvRef };

/** One notification at a time, the newest. */
export class Notifications {
  current = $state.raw<Notification | null>(null);
  /** The newest message for screen readers. */
  announcement = $state("");
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Reports a finished operation. A failure is only announced: its row shows it. */
  finished(outcome: Outcome): void {
    if (outcome.error) {
      this.announcement = `${outcome.env.env}: ${outcome.error.message}`;
      return;
    }
    const text = outcome.summary;
    this.announcement = text;
    if (outcome.undoable || SHOWN_VERBS.includes(outcome.verb)) {
      this.#show({ kind: "done", text, env: outcome.env, undoable: outcome.undoable });
    }
  }

  /** Reports a rejected action. Shown until dismissed. */
  rejected(env: EnvRef, report: ErrorReport): void {
    this.announcement = report.message;
    this.#show({ kind: "failed", report, env });
  }

  dismiss(): void {
    this.pauseTimer();
    this.current = null;
  }

  /** Keeps the notification while the pointer or the focus is on it. */
  pauseTimer(): void {
    clearTimeout(this.#timer);
  }

  restartTimer(): void {
    this.pauseTimer();
    if (this.current?.kind === "done") {
      this.#timer = setTimeout(() => this.dismiss(), DISPLAY_TIME);
    }
  }

  #show(notification: Notification): void {
    this.current = notification;
    this.restartTimer();
  }
}
