/** Labels for the view. The words of operations, statuses and ports come from core. */
import { clockTime } from "./format";
import { OPERATION_LABELS } from "./labels.gen";
import type { EnvStatus, EnvView, OperationView, UndoView } from "./types.gen";

export { ENGINE_LABELS, PORT_LABELS, STATUS_LABELS } from "./labels.gen";

/** `restoring`. */
export function operationLabel(operation: OperationView): string {
  return OPERATION_LABELS[operation.verb].participle;
}

/** `Undo restore of 14:02`. */
export function undoLabel(undo: UndoView, now: number): string {
  return `Undo ${OPERATION_LABELS[undo.verb].noun} of ${clockTime(undo.at, now)}`;
}

export type StatusIconName = EnvStatus | "busy" | "attention";

/** An operation or a problem takes precedence over the status. */
export function statusIcon(env: EnvView): StatusIconName {
  if (env.operation) return "busy";
  return env.problem ? "attention" : env.status;
}
