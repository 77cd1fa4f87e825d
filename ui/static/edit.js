// Writing an answer: the form in a card, and its draft, which a reload keeps.

import { Begun } from "./begun.js";
import { diffWords } from "./word_diff.js";

const AROUND = 80; // characters of an unchanged stretch that stand beside a change
const TAGS = { out: "del", in: "ins" };

export class Editor {
  // `who()`: who is writing.
  constructor(frame, candidates, who) {
    this.frame = frame;
    this.candidates = candidates;
    this.drafts = new Begun("drafts", frame.root.dataset, who); // texts
    this.onClose = () => {};
  }

  get isOpen() {
    return Boolean(this.frame.$("review-edit-form"));
  }

  hasDraft(item) {
    return Boolean(item && this.drafts.of(item.instruction_id));
  }

  // `text`: what could not be stored. `onSave` gets the command to send.
  open(item, onSave, text) {
    if (!item || this.isOpen) return;
    // Without a chosen one: the rejected, the selected or the only answer is what the new one is written against.
    const all = this.candidates.all();
    const find = (selector) => this.frame.element.querySelector(selector);
    const card = find('.card[data-role="chosen"]') || find('.card[data-role="rejected"]')
      || find(".candidate-row.selected") || (all.length === 1 ? all[0] : null);
    if (!card) return this.frame.say("Make a candidate chosen first, or select one; then edit it.", "hint");
    const against = card.dataset.role === "chosen" ? null : Number(card.dataset.candidateId);
    const area = document.createElement("textarea");
    area.id = "review-edit-text";
    const original = against === null ? item.chosen_text : item.texts[against];
    area.value = text || this.drafts.of(item.instruction_id) || original;
    const by = this.drafts.who(); // to the end: another login may come meanwhile
    const keepDraft = (draft) => this.drafts.put(item.instruction_id, draft || null, by);
    if (text) keepDraft(text);
    const changes = document.createElement("div");
    changes.id = "review-edit-diff";
    changes.dir = "auto";
    let drawing = 0;
    area.oninput = () => {
      keepDraft(area.value);
      cancelAnimationFrame(drawing);
      drawing = requestAnimationFrame(() => drawChanges(changes, original, area.value));
    };
    drawChanges(changes, original, area.value);
    area.setAttribute("aria-label", "The corrected answer");
    area.spellcheck = true;
    const form = document.createElement("div");
    form.id = "review-edit-form";
    const save = button("review-edit-save", "Save (Ctrl+Enter)", "action action-main");
    const cancel = button("review-edit-cancel", "Cancel (Esc)", "action");
    form.append(area, changes, save, cancel);
    card.classList.add("editing");
    card.append(form);
    const close = () => {
      keepDraft(null);
      form.remove();
      card.classList.remove("editing");
      setTimeout(() => this.onClose());
    };
    save.onclick = () => {
      const value = area.value;
      close();
      onSave(against === null ? { op: "edit", text: value } : { op: "edit", text: value, candidate_id: against });
    };
    cancel.onclick = close;
    area.onkeydown = (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        close();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        save.onclick();
      }
      event.stopPropagation();
    };
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

// The edit against the original: what goes is struck through, what comes is underlined, both are counted in words.
function drawChanges(box, original, text) {
  const segments = diffWords(original, text);
  const count = (kind) => segments.reduce((sum, segment) => sum + (segment.kind === kind ? segment.words : 0), 0);
  const [out, put] = [count("out"), count("in")];
  const head = document.createElement("b");
  head.textContent = out || put ? `−${out} +${put}` : "no word changed";
  head.title = "Words taken out and put in, against the original answer";
  const parts = segments.flatMap(({ kind, text: words }, i) => {
    if (kind === "same") return [shorten(words, i === 0, i === segments.length - 1)];
    const part = document.createElement(TAGS[kind]);
    part.textContent = words.trimEnd();
    return [part, words.slice(part.textContent.length)];
  });
  box.replaceChildren(head, " ", ...(out || put ? parts : []));
}

function shorten(words, isFirst, isLast) {
  const [head, tail] = [isFirst ? 0 : AROUND, isLast ? 0 : AROUND];
  if (words.length <= head + tail + 10) return words;
  return [...words].slice(0, head).join("") + " … " + (tail ? [...words].slice(-tail).join("") : "");
}

function button(id, text, className) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = className;
  made.id = id;
  made.textContent = text;
  return made;
}
