// Writing an answer: the form in a card, and its draft, which a reload keeps.

import { keep, recall } from "./memory.js";

export class Editor {
  constructor(frame, candidates) {
    this.frame = frame;
    this.candidates = candidates;
    this.store = `m3po.drafts.${frame.root.dataset.workspace}`; // another workspace has other items of the same ids
    this.drafts = recall(this.store, {}); // by instruction
    this.onClose = () => {};
  }

  get isOpen() {
    return Boolean(this.frame.$("review-edit-form"));
  }

  hasDraft(item) {
    return Boolean(item && this.drafts[item.instruction_id]);
  }

  keepDraft(item, text) {
    const { [item.instruction_id]: old, ...others } = this.drafts;
    this.drafts = text ? { ...others, [item.instruction_id]: text } : others;
    keep(this.store, this.drafts);
  }

  // `text`: what could not be stored. `onSave` gets the command to send.
  open(item, onSave, text) {
    if (!item || this.isOpen) return;
    // Without a chosen one: the rejected, the selected or the only answer is what the new one is written against.
    const all = this.candidates.all();
    const find = (selector) => this.frame.element.querySelector(selector);
    const card = find('.card[data-role="chosen"]') || find('.card[data-role="rejected"]')
      || find(".candidate-row.selected") || (all.length === 1 ? all[0] : null);
    if (!card) return this.frame.say("Make a candidate chosen first, or select one with the arrow keys; then edit it.", "hint");
    const against = card.dataset.role === "chosen" ? null : Number(card.dataset.candidateId);
    const area = document.createElement("textarea");
    area.id = "review-edit-text";
    area.value = text || this.drafts[item.instruction_id] || (against === null ? item.chosen_text : item.texts[against]);
    if (text) this.keepDraft(item, text);
    area.oninput = () => this.keepDraft(item, area.value);
    area.setAttribute("aria-label", "The corrected answer");
    area.spellcheck = true;
    const form = document.createElement("div");
    form.id = "review-edit-form";
    const save = button("review-edit-save", "Save (Ctrl+Enter)", "action action-main");
    const cancel = button("review-edit-cancel", "Cancel (Esc)", "action");
    form.append(area, save, cancel);
    card.classList.add("editing");
    card.append(form);
    const close = () => {
      this.keepDraft(item, "");
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

function button(id, text, className) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = className;
  made.id = id;
  made.textContent = text;
  return made;
}
