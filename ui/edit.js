// Writing an answer: the form in a card, and its draft. One function body with keys.js (see review_tab.py).

function keepDraft(text) {
  drafts = text ? { [item.instruction_id]: text } : {};
  remember();
}

function openEdit(text) {
  if (!item || $("review-edit-form")) return;
  // Without a chosen one: the rejected, the selected or the only answer is what the new one is written against.
  const all = cards();
  const card = element.querySelector('.card[data-role="chosen"]') || element.querySelector('.card[data-role="rejected"]')
    || element.querySelector(".candidate-row.selected") || (all.length === 1 ? all[0] : null);
  if (!card) return say("Make a candidate chosen first, or select one with the arrow keys; then edit it.", "hint");
  const against = card.dataset.role === "chosen" ? null : Number(card.dataset.candidateId);
  const kept = drafts[item.instruction_id];
  const area = document.createElement("textarea");
  area.id = "review-edit-text";
  area.value = text || kept || (against === null ? item.chosen_text : item.texts[against]);
  if (text) keepDraft(text); // what could not be stored
  area.oninput = () => keepDraft(area.value);
  area.setAttribute("aria-label", "The corrected answer");
  area.spellcheck = true;
  const form = document.createElement("div");
  form.id = "review-edit-form";
  const save = document.createElement("button");
  save.type = "button";
  save.className = "action action-main";
  save.id = "review-edit-save";
  save.textContent = "Save (Ctrl+Enter)";
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.className = "action";
  cancel.id = "review-edit-cancel";
  cancel.textContent = "Cancel (Esc)";
  form.append(area, save, cancel);
  card.classList.add("editing");
  card.append(form);
  const close = () => {
    keepDraft("");
    form.remove();
    card.classList.remove("editing");
  };
  save.onclick = () => {
    const value = area.value;
    close();
    push(against === null ? { op: "edit", text: value } : { op: "edit", text: value, candidate_id: against });
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
