// What a key means on the review page: one table of actions, each with its key by place on the keyboard (event.code),
// so that another layout moves nothing. Keys changed by hand are kept in this browser, for each person.

import { keepAlways, recallAlways } from "./memory.js";

// [action, key, name, what it does, meaning]. A meaning is `{op}` for the line of commands, `{choose}` for a candidate by
// its number, `{select: step}` and `{markSelected: role}` for the selection, `{call}` for what review.js calls so. What
// `repeats` may repeat while the key is held.
const TABLE = [
  ["accept", "Enter", "Accept", "accept the pair, next item", { op: "accept" }],
  ["swap", "KeyX", "Swap", "swap chosen and rejected", { op: "swap" }],
  ["edit", "KeyE", "Edit", "edit the chosen answer, or write one against the only answer; Ctrl+Enter saves, Esc leaves", { op: "edit" }],
  ["tie", "KeyT", "Tie", "tie: kept out of training", { op: "tie" }],
  ["all_wrong", "KeyN", "All wrong", "all wrong: kept out of training", { op: "all_wrong" }],
  ["all_right", "KeyY", "All right", "all right: kept out of training", { op: "all_right" }],
  ["bad_question", "KeyQ", "Bad question", "bad question, that the image does not answer: kept out of training", { op: "bad_question" }],
  ["skip", "KeyS", "Skip", "skip: it waits still, and is kept out of training until decided", { op: "skip" }],
  ["flag", "KeyF", "Flag", "flag for a second look: kept out of training until decided", { op: "flag" }],
  ["undo", "KeyU", "Undo", "undo the latest decision, one after another", { op: "undo" }],
  ["redo", "Shift+KeyU", "Redo", "redo what was undone last, until you decide something new", { op: "redo" }],
  ["history", "KeyH", "History", "the item's history, where any decision is undone and redone", { call: "history" }],
  ["reason", "KeyW", "Reason", "a reason that goes with the decision: then a digit; again, or Esc, leaves the list", { call: "reason" }],
  ["note", "KeyM", "Note", "a note that goes with the decision; Ctrl+Enter keeps it, Esc leaves it as a draft", { call: "note" }],
  ["tags", "KeyG", "Tags", "tags of the item; Enter adds one, Esc leaves", { call: "tags" }],
  ["guideline", "KeyI", "Guideline", "the guideline beside the item", { call: "guideline" }],
  ["next", "ArrowRight", "Next", "next item", { op: "next", repeats: true }],
  ["previous", "ArrowLeft", "Previous", "previous item", { op: "previous", repeats: true }],
  ["select_next", "ArrowDown", "Select next", "select the next candidate (any, also beyond nine)", { select: 1, repeats: true }],
  ["select_previous", "ArrowUp", "Select previous", "select the candidate before", { select: -1, repeats: true }],
  ["mark_chosen", "KeyC", "Selected: chosen", "make the selected candidate chosen", { markSelected: "chosen" }],
  ["mark_rejected", "KeyR", "Selected: rejected", "make the selected candidate rejected", { markSelected: "rejected" }],
  ["zoom", "KeyZ", "Zoom", "fit the image, or zoom in; the wheel zooms, dragging moves it", { call: "zoom" }],
  ["belief", "KeyB", "Tokens", "colour the answers' tokens by log-prob, by what they owe to the image", { call: "belief" }],
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => [`candidate${n}`, `Digit${n}`, `Candidate ${n}`, "", { choose: String(n) }]),
];
export const ACTIONS = new Map(TABLE.map(([action, key, name, words, meaning]) => [action, { key, name, words, meaning }]));

const SHIFT = "Shift+";
const LEFT_ALONE = /^(Escape|Tab|F\d+|(Control|Alt|Meta|Shift|OS)(Left|Right)?|CapsLock|NumLock|ContextMenu|Unidentified|)$/;
const PRESSING = new Set(["Enter", "NumpadEnter", "Space"]); // a focused button or link keeps these for itself
const NAMES = {
  ArrowRight: "→", ArrowLeft: "←", ArrowDown: "↓", ArrowUp: "↑", Backquote: "`", Minus: "-", Equal: "=", BracketLeft: "[",
  BracketRight: "]", Backslash: "\\", Semicolon: ";", Quote: "'", Comma: ",", Period: ".", Slash: "/",
};

export function isTyping(target) {
  if (!(target instanceof Element)) return false;
  const field = target.closest("input, textarea, select, [contenteditable]");
  return Boolean(field) && field.getAttribute("contenteditable") !== "false";
}

// Shortcuts of the browser and letters typed with AltGr are nobody's key here.
export function hasModifier(event) {
  return event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.getModifierState("AltGraph");
}

// The key of an event as it is bound: its place, with Shift+ before it. An event without a place is told by its letter.
export function keyOf(event) {
  const { key } = event;
  const told = /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : /^\d$/.test(key) ? `Digit${key}` : key;
  return (event.shiftKey ? SHIFT : "") + (event.code || told);
}

export class KeyMap {
  constructor(person) {
    this.store = `m3po.keys.${person}`;
    this.layout = new Map(); // code -> what this keyboard writes there
    this.onChange = () => {};
    this.load();
    addEventListener("storage", (event) => event.key === this.store && this.load());
    this.learnLayout();
  }

  async learnLayout() {
    try {
      for (const [code, letter] of await navigator.keyboard.getLayoutMap()) this.layout.set(code, letter);
      this.onChange();
    } catch {
      // no such thing in this browser: letters are learnt as they are pressed
    }
  }

  learn(event) {
    const { code, key } = event;
    if (!event.shiftKey && key.length === 1 && code && !this.layout.has(code)) this.layout.set(code, key);
  }

  // Own keys come first: whatever action stood on one of them is left without a key.
  load() {
    this.own = {};
    this.taken = new Map(); // key -> [action, role]
    this.bound = {};
    for (const [action, key] of Object.entries(recallAlways(this.store, {}))) {
      if (ACTIONS.has(action) && !whyNot(action, key) && !this.holders(action, key).length) this.put(action, key);
    }
    Object.assign(this.own, this.bound);
    for (const [action, { key }] of ACTIONS) {
      if (this.bound[action] === undefined) this.put(action, this.holders(action, key).length ? null : key);
    }
    this.onChange();
  }

  put(action, key) {
    this.bound[action] = key;
    const { choose } = ACTIONS.get(action).meaning;
    for (const each of claims(action, key)) {
      this.taken.set(each, [action, choose && (each.startsWith(SHIFT) ? "rejected" : "chosen")]);
    }
  }

  // The other actions that stand on a key, or on the same one with Shift where it takes both.
  holders(action, key) {
    const found = claims(action, key).map((each) => this.taken.get(each)).filter(Boolean).map(([other]) => other);
    return [...new Set(found)].filter((other) => other !== action);
  }

  // Changes several at once: {action: key}; a default key is not kept as one's own.
  change(keys) {
    const own = { ...this.own, ...keys };
    for (const [action, key] of Object.entries(own)) if (key === ACTIONS.get(action).key) delete own[action];
    keepAlways(this.store, own);
    this.load();
  }

  reset() {
    keepAlways(this.store, {});
    this.load();
  }

  // What the key of an event means; null where it means nothing.
  read(event) {
    if (event.key === "?") return { call: "help" }; // by its letter: the same on every keyboard that has one
    this.learn(event);
    const key = keyOf(event);
    const pad = /^Numpad(?:([1-9])|Enter)$/.exec(key);
    const alias = pad && (!pad[1] || event.key === pad[1]) ? (pad[1] ? `Digit${pad[1]}` : "Enter") : null;
    const found = this.taken.get(key) || (alias && this.taken.get(alias));
    if (!found) return null;
    if (PRESSING.has(event.code)) {
      const control = event.target.closest && event.target.closest("button, a, summary, [role=tab]");
      if (control && control.getAttribute("aria-selected") !== "true") return null;
    }
    const [action, role] = found;
    return { ...ACTIONS.get(action).meaning, ...(role && { role }) };
  }

  // How a key is called on this keyboard. Digits are what is printed on them, also where a layout wants Shift for them.
  label(key) {
    if (!key) return "no key";
    const code = key.replace(SHIFT, "");
    const own = /^Digit\d$/.test(code) ? code.at(-1) : this.layout.get(code);
    const letter = own || NAMES[code] || code.replace(/^Key/, "").replace(/^Numpad/, "Num ");
    const upper = letter.toUpperCase();
    return (key.startsWith(SHIFT) ? SHIFT : "") + (letter.length === 1 && upper.length === 1 ? upper : letter);
  }

  // `{swap}` becomes the key of that action, `{candidates}` those of all nine.
  fill(template) {
    return template.replace(/\{(\w+)\}/g, (all, action) => {
      if (action === "candidates") return this.candidates();
      return ACTIONS.has(action) ? this.label(this.bound[action]) : all;
    });
  }

  candidates() {
    const nine = [...ACTIONS.keys()].filter((action) => /^candidate\d$/.test(action));
    const labels = nine.map((action) => this.label(this.bound[action]));
    return labels.join("") === "123456789" ? "1–9" : labels.join(" ");
  }

  // Writes the keys as they are bound now into what names them: see ui/review/key_words.py.
  show(root) {
    const of = (action) => this.label(this.bound[action]);
    const each = (name, write) => root.querySelectorAll(`[${name}]`).forEach((part) => write(part, part.getAttribute(name)));
    each("data-key", (part, action) => (part.textContent = of(action).replace(SHIFT, "⇧")));
    each("data-key-title", (part, template) => (part.title = this.fill(template)));
    each("data-key-text", (part, template) => (part.textContent = this.fill(template)));
    each("data-shortcut", (part, action) => part.setAttribute("aria-keyshortcuts", of(action)));
  }
}

// Why an action cannot stand on a key, as a sentence; "" where it can.
export function whyNot(action, key) {
  if (typeof key !== "string" || LEFT_ALONE.test(key.replace(SHIFT, ""))) {
    return "The browser or the keyboard itself needs this key: take another one.";
  }
  const twofold = ACTIONS.get(action).meaning.choose && key.startsWith(SHIFT);
  return twofold ? "Take a key without Shift: with Shift it makes the candidate rejected." : "";
}

function claims(action, key) {
  if (!key) return [];
  return ACTIONS.get(action).meaning.choose ? [key, SHIFT + key] : [key];
}
