// The answers' tokens coloured by what the policy believes, or by how much of it comes from the image. A switch (key B),
// kept in this browser; what is coloured is asked for while it is on, and kept for the items around.

import { keepAlways, recallAlways } from "./memory.js";

const STORE = "m3po.belief";
const KINDS = ["off", "logp", "image"];
const KEPT = 60; // items
const AROUND = 3;

export class Belief {
  constructor(frame, deck, server) {
    Object.assign(this, { frame, deck, server });
    this.select = frame.$("review-belief-kind");
    this.plain = new WeakMap(); // element of a text -> its nodes without colours
    this.known = new Map(); // "kind/instruction" -> {answers, note}
    this.asking = new Set();
    const kept = recallAlways(STORE, "off");
    this.set(KINDS.includes(kept) ? kept : "off");
    this.select.addEventListener("change", () => {
      this.select.blur();
      this.set(this.select.value);
    });
    // Whoever draws the candidates anew, they are coloured again.
    new MutationObserver(() => this.onDrawn()).observe(frame.$("review-candidates"), { childList: true });
  }

  next() {
    this.set(KINDS[(KINDS.indexOf(this.kind) + 1) % KINDS.length]);
  }

  set(kind) {
    this.kind = this.select.value = kind;
    keepAlways(STORE, kind);
    this.frame.root.dataset.belief = kind;
    this.known.clear(); // a run may have scored more since
    this.apply();
  }

  // What could not be coloured may be by now: there are scores since, or the vote that ends a blindness.
  onDrawn() {
    const key = `${this.kind}/${this.deck.shownId}`;
    const found = this.known.get(key);
    const cards = [...this.frame.element.querySelectorAll("[data-candidate-id]")];
    if (found && cards.some((card) => !found.answers[card.dataset.candidateId])) this.known.delete(key);
    this.apply();
  }

  apply() {
    const id = this.deck.shownId;
    const found = this.kind === "off" ? null : this.known.get(`${this.kind}/${id}`);
    this.frame.$("review-belief-note").textContent = (found && found.note) || "";
    const drawnBy = found ? found.drawnBy : this.kind; // log-prob, where more is not known
    for (const legend of this.frame.element.querySelectorAll("[data-legend]")) legend.hidden = legend.dataset.legend !== drawnBy;
    for (const card of this.frame.element.querySelectorAll("[data-candidate-id]")) {
      const text = card.querySelector(".card-text, .row-text");
      const html = found && found.answers[card.dataset.candidateId];
      if (!text) continue;
      if (html) {
        if (!this.plain.has(text)) this.plain.set(text, [...text.childNodes]);
        if (text.dataset.belief === this.kind) continue;
        text.dataset.belief = this.kind;
        text.innerHTML = html; // made by ui/markup.py, which escapes every text
      } else if (this.plain.has(text)) {
        text.replaceChildren(...this.plain.get(text));
        this.plain.delete(text);
        delete text.dataset.belief;
      }
    }
    if (this.kind !== "off" && id !== null) this.ask(id);
  }

  async ask(id) {
    const { kind } = this;
    const near = [id, ...this.deck.shelf.ahead.slice(0, AROUND)];
    const missing = near.filter((each) => !this.known.has(`${kind}/${each}`) && !this.asking.has(`${kind}/${each}`));
    if (!missing.length) return;
    for (const each of missing) this.asking.add(`${kind}/${each}`);
    try {
      const told = await this.server.belief({ kind, instruction_ids: missing });
      for (const each of told ? missing : []) {
        this.known.set(`${kind}/${each}`, { answers: told.answers[each] || {}, note: told.notes[each] || "", drawnBy: told.drawn_by[each] });
      }
    } catch {
      // the next key or item asks again
    } finally {
      for (const each of missing) this.asking.delete(`${kind}/${each}`);
    }
    for (const key of [...this.known.keys()].slice(0, Math.max(0, this.known.size - KEPT))) this.known.delete(key);
    if (missing.includes(this.deck.shownId) && this.known.has(`${this.kind}/${this.deck.shownId}`)) this.apply();
  }
}
