// What a key means on the review page: a command, or null. Nothing happens here.

const LETTERS = { x: "swap", s: "skip", t: "tie", n: "all_wrong", f: "flag", e: "edit", u: "undo" };

export function isTyping(target) {
  if (!(target instanceof Element)) return false;
  const field = target.closest("input, textarea, select, [contenteditable]");
  return Boolean(field) && field.getAttribute("contenteditable") !== "false";
}

// `{op}` for the line; `{choose, role}` for a candidate by its number; `{select: step}` and `{markSelected: role}` for
// the selection; `{zoom: true}` for the image; `{help: true}`. The moving and selecting ones may repeat while a key is held.
export function readKey(event) {
  if (event.key === "?") return { help: true };
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code || "");
  if (digit && event.code.startsWith("Digit")) return { choose: digit[1], role: event.shiftKey ? "rejected" : "chosen" };
  if (digit && /^[1-9]$/.test(event.key)) return { choose: digit[1], role: "chosen" };
  if (event.shiftKey) return event.code === "KeyU" ? { op: "redo" } : null;
  if (event.key === "Enter" || event.key === " ") {
    // A focused button or link keeps its own key; a focused candidate does not swallow Enter.
    const control = event.target.closest && event.target.closest("button, a, summary, [role=tab]");
    if (control && control.getAttribute("aria-selected") !== "true") return null;
    return event.key === "Enter" ? { op: "accept" } : null;
  }
  if (event.key === "ArrowRight") return { op: "next", repeats: true };
  if (event.key === "ArrowLeft") return { op: "previous", repeats: true };
  if (event.key === "ArrowDown") return { select: 1, repeats: true };
  if (event.key === "ArrowUp") return { select: -1, repeats: true };
  const letter = event.key.toLowerCase();
  if (letter === "c") return { markSelected: "chosen" };
  if (letter === "r") return { markSelected: "rejected" };
  if (letter === "z") return { zoom: true };
  if (letter === "h") return { history: true };
  return LETTERS[letter] ? { op: LETTERS[letter] } : null;
}
