// The item's history: asked for while it is open, and again whenever something on the item was decided or undone.

import { isTyping } from "./keys.js";

export class History {
  constructor(frame, deck, server) {
    Object.assign(this, { frame, deck, server });
    this.panel = frame.$("review-history");
    this.rows = frame.$("review-history-rows");
    this.button = frame.$("review-history-open");
    this.asked = 0;
    this.button.addEventListener("click", () => this.toggle());
    frame.$("review-history-close").addEventListener("click", () => this.toggle());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOpen || !frame.isShown || event.defaultPrevented) return;
      if (!isTyping(event.target) && !document.querySelector("dialog[open]")) this.toggle();
    });
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle() {
    this.panel.hidden = this.isOpen;
    this.button.setAttribute("aria-expanded", this.isOpen);
    this.refresh();
  }

  async refresh() {
    const asked = ++this.asked;
    const { shownId, view } = this.deck;
    if (!this.isOpen) return;
    if (this.panel.dataset.item !== String(shownId)) this.rows.replaceChildren(); // those of another item
    delete this.panel.dataset.item;
    await this.deck.outbox.drain(); // what was decided just now is part of it
    const command = { op: "history", instruction_id: shownId, view };
    const answer = shownId === null ? { history: "" } : await this.ask(command);
    if (asked !== this.asked) return;
    if (answer.error) this.rows.textContent = answer.error;
    else this.rows.innerHTML = answer.history; // made by ui/markup.py, which escapes every text
    this.panel.dataset.item = shownId;
  }

  async ask(command) {
    const silent = { error: "The server does not answer: close the history and open it again." };
    try {
      return (await this.server.review(command)) || silent;
    } catch {
      return silent;
    }
  }
}
