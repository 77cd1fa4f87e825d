// Which commands decide, and what each carries to the server.

// Those that go on to the next item.
export const LEAVING = new Set(["accept", "skip", "tie", "all_wrong", "all_right", "bad_question", "flag"]);
export const STAYING = new Set(["mark", "swap", "edit", "reason", "note", "tag", "untag"]);
export const PAIRING = new Set(["mark", "swap", "edit"]); // of those that stay, the ones that store a pair
export const REMARKS = new Set(["reason", "note"]);
export const TAGGING = new Set(["tag", "untag"]);
export const UNDOING = new Set(["undo", "redo"]); // of an item that need not be the shown one
export const BOUND = new Set([...LEAVING, ...STAYING, "gold"]); // belong to the item that was drawn when they were pressed
export const STEPS = { next: 1, previous: -1 };

// A command with what it was pressed on, so that the server knows what the annotator saw.
export function withState(command, { item, view, by, client, drawnAt, remarks }) {
  const { pressed, on, choose, repeats, quiet, before, ...rest } = command;
  return {
    instruction_id: item ? item.instruction_id : null,
    selection_id: item ? item.selection_id : null,
    chosen: item ? item.chosen : null,
    rejected: item ? item.rejected : null,
    pending: item ? item.pending : {},
    decision_id: item ? item.decision_id : null,
    seconds: Math.round(performance.now() - drawnAt) / 1000,
    view: { ...view },
    by,
    client,
    ...(remarks ? remarks.said(item) : {}),
    ...rest,
  };
}
