// What is said along with a decision: its reason and a note. Chosen before the decision they wait on the page, in this
// browser tab, and go out with it; chosen on what one has decided, the same decision is stored again with them.

import { Begun } from "./begun.js";

export class Remarks {
  constructor(frame, deck) {
    Object.assign(this, { frame, deck });
    const { dataset } = frame.root;
    this.pending = new Begun("remarks", dataset, () => deck.by); // {reason, note} that wait
    this.drafts = new Begun("notes", dataset, () => deck.by); // texts of notes that are being written
    this.box = frame.$("review-box");
    this.open = ""; // what the box is for now
    this.kinds = { reason: () => this.drawReasons(), note: () => this.writeNote() }; // and what fills it
    this.onChip = () => []; // more chips, of the item's tags
    deck.remarks = this;
  }

  // What the page shows of the item, and what goes out with its next decision.
  said(item) {
    const own = (item && item.own) || {};
    const pending = this.waiting(item);
    return { reason: pending.reason ?? own.reason ?? "", note: pending.note ?? own.note ?? "" };
  }

  waiting(item) {
    return (item && this.pending.of(item.instruction_id)) || {};
  }

  draftOf(item) {
    return item && this.drafts.of(item.instruction_id);
  }

  // On what is not decided by me yet: it waits for the decision.
  wait({ op, instruction_id, ...command }) {
    this.pending.put(instruction_id, { ...this.waiting({ instruction_id }), [op]: command[op] });
    this.draw();
  }

  // It went out with a decision.
  forget(id) {
    if (!this.pending.of(id)) return;
    this.pending.put(id, null);
    this.draw();
  }

  // The decision that it went out with was not stored.
  restore({ instruction_id: id, by, reason, note }) {
    if (!reason && !note) return;
    this.pending.put(id, { reason, note }, by);
    this.draw();
  }

  // Another item is shown, or the same one anew.
  show(item, same) {
    if (!same && this.open !== "reason") this.close(); // a note's draft is kept
    if (!same && this.draftOf(item)) {
      this.frame.say("Your unsaved note is kept: Note goes on with it.", "hint");
    }
    if (this.open === "reason") this.drawReasons();
    this.draw();
  }

  draw() {
    const { item } = this.deck;
    const chips = item ? [...this.saidChips(item), ...this.onChip(item)] : [];
    this.frame.$("review-remarks").replaceChildren(...chips);
  }

  saidChips(item) {
    const { reason, note } = this.said(item);
    const waiting = this.waiting(item);
    const chips = [];
    for (const [name, text] of [["reason", reason], ["note", note]]) {
      if (!text) continue;
      const made = chip(`${name}: ${text}`, name in waiting ? "It goes with your next decision here." : `Your ${name}`);
      made.classList.toggle("waits", name in waiting);
      made.dataset.said = name;
      chips.push(made);
    }
    const { stands } = item;
    for (const name of stands ? ["reason", "note"] : []) {
      if (stands[name]) chips.push(chip(`${stands.by}: ${stands[name]}`, `The ${name} of ${stands.by}`));
    }
    return chips;
  }

  // The box above the buttons

  toggle(kind) {
    if (this.open === kind) return this.close();
    this.close();
    if (!this.deck.item) return;
    this.open = kind;
    this.box.hidden = false;
    this.kinds[kind]();
  }

  close() {
    this.open = "";
    this.box.hidden = true;
    this.box.replaceChildren();
  }

  // While reasons are shown a digit is one. True: the key was taken.
  takeKey(event, meaning) {
    if (this.open !== "reason") return false;
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code || "");
    if (digit && !event.shiftKey) {
      if (!event.repeat) this.choose(Number(digit[1]));
    } else {
      if (meaning && meaning.call === "reason") return false; // it closes the list
      this.close();
      if (event.key !== "Escape") return false; // any other key is what it is
    }
    event.preventDefault();
    return true;
  }

  choose(number) {
    const { item } = this.deck;
    const reason = item && item.reasons[number - 1];
    if (!reason) return this.frame.say(`There is no reason ${number} here.`, "hint");
    this.close();
    // The same once more takes it off.
    this.deck.push({ op: "reason", reason: this.said(item).reason === reason ? "" : reason });
  }

  drawReasons() {
    const { item } = this.deck;
    if (!item) return this.close();
    const { reason } = this.said(item);
    const buttons = item.reasons.map((name, i) => {
      const made = button(name, () => this.choose(i + 1));
      made.setAttribute("aria-pressed", String(name === reason));
      if (i < 9) made.prepend(key(i + 1), " ");
      return made;
    });
    this.box.replaceChildren(label("Why?"), ...buttons);
  }

  writeNote() {
    const { item } = this.deck;
    const area = document.createElement("textarea");
    area.id = "review-note-text";
    area.setAttribute("aria-label", "Note on your decision");
    area.placeholder = "A note on your decision";
    area.maxLength = Number(this.frame.root.dataset.maxNote);
    area.value = this.draftOf(item) ?? this.said(item).note;
    const { by } = this.deck; // to the end: another login may come meanwhile
    const draft = (text) => this.drafts.put(item.instruction_id, text, by);
    const isChanged = () => area.value.trim() !== this.said(item).note;
    const leave = () => {
      this.close();
      if (isChanged()) this.frame.say("Your unsaved note is kept: Note goes on with it.", "hint");
      else draft(null);
    };
    const drop = () => {
      draft(null);
      this.close();
    };
    const save = () => {
      drop();
      if (isChanged()) this.deck.push({ op: "note", note: area.value.trim() });
    };
    area.oninput = () => draft(area.value);
    area.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key !== "Escape" && !(event.key === "Enter" && (event.ctrlKey || event.metaKey))) return;
      event.preventDefault();
      if (event.key === "Escape") leave();
      else save();
    };
    const keepButton = button("Keep (Ctrl+Enter)", save);
    keepButton.classList.add("action-main");
    this.box.replaceChildren(area, keepButton, button("Leave (Esc)", leave), button("Drop what I wrote", drop));
    area.focus();
  }
}

export function chip(text, title) {
  const made = document.createElement("span");
  made.className = "chip said-chip";
  made.textContent = text;
  made.title = `${title}\n${text}`;
  return made;
}

export function button(text, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "action";
  made.append(text);
  made.onclick = onClick;
  return made;
}

function label(text) {
  const made = document.createElement("span");
  made.className = "quiet";
  made.textContent = text;
  return made;
}

function key(text) {
  const made = document.createElement("kbd");
  made.textContent = text;
  return made;
}
