// The bar that says which items are shown, and the chips of what narrows them.

import { DEFAULT, OUTCOMES, readNumber, sayRun, TESTS } from "./address.js";

const LABELS = {
  m3p_score: "M3P-Score", logp_margin: "Log-prob margin", mas_gap: "MAS gap", length_ratio: "Length ratio",
  source: "Source", tag: "Tag", reason: "Reason", annotator: "Decided by",
};

export class Filters {
  constructor(frame, deck) {
    Object.assign(this, { frame, deck });
    this.selects = { filter: "review-filter", order: "review-order", search_in: "review-search-in", source: "review-source" };
    for (const field of ["run", "outcome"]) this.selects[field] = `review-${field}`;
    for (const [field, id] of Object.entries(this.selects)) {
      frame.$(id).addEventListener("change", (event) => {
        event.target.blur();
        if (["order", "outcome"].includes(field)) this.setOfRun({ [field]: event.target.value });
        else if (field !== "search_in" || deck.view.search) this.set({ [field]: event.target.value });
        else deck.view.search_in = event.target.value;
      });
    }
    this.search = frame.$("review-search");
    this.search.addEventListener("keydown", (event) => this.onSearchKey(event));
    this.search.addEventListener("search", () => this.setSearch()); // the field's own x, too
    this.panel = frame.$("review-filters");
    this.panel.addEventListener("change", (event) => this.onPanel(event.target));
    this.panel.addEventListener("toggle", () => this.panel.open && this.listNames());
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.closePanel();
      if (event.key === "Enter" && event.target.matches("input")) event.target.blur(); // sets it: a change event
    });
    document.addEventListener("pointerdown", (event) => {
      if (this.panel.open && !this.panel.contains(event.target)) this.closePanel();
    });
    frame.$("review-jump").addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        deck.push({ op: "jump", text: event.target.value });
        event.target.value = "";
        event.target.blur();
      } else if (event.key === "Escape") event.target.blur();
    });
    deck.onView = () => this.show();
  }

  set(change) {
    if (!this.deck.setView(change)) this.show(); // refused: show what it still is
  }

  // What is about a run is about the newest one whose pairs were measured, until another is chosen.
  async setOfRun(change) {
    if (!(change.outcome || change.order === "reward_margin") || this.deck.view.run) return this.set(change);
    const newest = (await this.listNames()).find((run) => run.measured);
    if (newest) return this.set({ ...change, run: String(newest.id) });
    this.deck.frame.say("No run has told what it did to its pairs yet: fine-tune first.", "hint");
    this.show();
  }

  setSearch() {
    const search = this.search.value.trim();
    if (search !== this.deck.view.search) this.set({ search });
  }

  onSearchKey(event) {
    if (event.key === "Enter") {
      this.setSearch();
      this.search.blur();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.search.value = this.deck.view.search;
      this.search.blur();
    }
  }

  onPanel(field) {
    if (field.dataset.text) return this.set({ [field.dataset.text]: field.value.trim() });
    if (!field.dataset.range) return;
    const ranges = [];
    for (const low of this.panel.querySelectorAll('[data-side="low"]')) {
      const measure = low.dataset.range;
      const high = this.panel.querySelector(`[data-range="${measure}"][data-side="high"]`);
      const range = { measure, low: readNumber(low.value), high: readNumber(high.value) };
      if (range.low !== null || range.high !== null) ranges.push(range);
    }
    this.set({ ranges });
  }

  closePanel() {
    this.panel.open = false;
    if (this.panel.contains(document.activeElement)) document.activeElement.blur();
  }

  async listNames() {
    const answer = await this.deck.server.review({ op: "sources" });
    for (const name of (answer && answer.sources) || []) this.offerSource(name);
    for (const field of ["tags", "reasons"]) {
      const names = (answer && answer[field]) || [];
      this.frame.$(`review-${field}-known`).replaceChildren(...names.map((name) => new Option(name, name)));
    }
    const runs = (answer && answer.runs) || [];
    for (const { id, pairs, measured, state } of [...runs].reverse()) {
      const words = `run ${id}: ${pairs.toLocaleString("en-US")} pairs${measured ? "" : `, ${state}, not measured`}`;
      this.offerRun(String(id), words);
    }
    return runs;
  }

  // The newest run comes first, behind "any".
  offerRun(run, words) {
    const select = this.frame.$("review-run");
    for (const field of this.panel.querySelectorAll(".of-run")) field.hidden = false;
    const known = [...select.options].find((option) => option.value === run);
    if (known) known.textContent = words;
    else select.options[0].after(new Option(words, run));
  }

  offerSource(name) {
    const select = this.frame.$("review-source");
    if ([...select.options].some((option) => option.value === name)) return;
    select.append(new Option(name, name));
  }

  // The view as it is, in every field and as chips.
  show() {
    const { view } = this.deck;
    if (view.source) this.offerSource(view.source);
    if (view.run && ![...this.frame.$("review-run").options].some(({ value }) => value === view.run)) this.offerRun(view.run, sayRun(view.run));
    for (const [field, id] of Object.entries(this.selects)) this.frame.$(id).value = view[field];
    this.search.value = view.search;
    for (const field of this.panel.querySelectorAll("[data-text]")) field.value = view[field.dataset.text];
    for (const field of this.panel.querySelectorAll("[data-range]")) {
      const range = view.ranges.find((one) => one.measure === field.dataset.range);
      field.value = (range && range[field.dataset.side]) ?? "";
    }
    const chips = this.chips();
    this.frame.$("review-chips").replaceChildren(...chips);
    this.frame.$("review-chips").hidden = !chips.length;
  }

  chips() {
    const { view } = this.deck;
    const chips = [];
    const add = (text, change) => chips.push(makeChip(text, () => this.set(change)));
    if (view.search) add(`“${view.search}” in ${view.search_in}`, { search: "" });
    for (const field of ["source", "tag", "reason", "annotator"]) {
      if (view[field]) add(`${LABELS[field]}: ${view[field]}`, { [field]: "" });
    }
    for (const range of view.ranges) {
      const { measure, low, high } = range;
      const words = low === null ? `at most ${high}` : high === null ? `at least ${low}` : `${low} to ${high}`;
      add(`${LABELS[measure]} ${words}`, { ranges: view.ranges.filter((one) => one !== range) });
    }
    if (view.survived) add(`Survives: ${TESTS[view.survived]}`, { survived: "" });
    if (view.run) add(sayRun(view.run), { run: "" });
    if (view.outcome) add(OUTCOMES[view.outcome], { outcome: "" });
    if (view.area) add(`Region of ${view.area.role} answers`, { area: null });
    if (chips.length > 1) {
      const { order, filter } = view;
      chips.push(makeChip("Clear all", () => this.set({ ...DEFAULT, ranges: [], order, filter }), "plain"));
    }
    return chips;
  }
}

function makeChip(text, onRemove, kind = "chip") {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.className = `view-chip ${kind}`;
  chip.textContent = kind === "chip" ? `${text} ✕` : text;
  chip.title = kind === "chip" ? "Leave this filter out" : "Show all again";
  chip.onclick = onRemove;
  return chip;
}
