// Decisions that the server did not take, until their items are shown again to who decided them. A reload keeps them.

import { keep, recall } from "./memory.js";

const NAMED = 8; // items that are named one by one

export class Refused {
  // `who()`: whose turn it is.
  constructor(store, who) {
    this.store = store;
    this.who = who;
    this.waiting = recall(store, []); // {by, id, error}, oldest first, each item once
  }

  get own() {
    return this.waiting.filter((one) => one.by === this.who());
  }

  get size() {
    return this.own.length;
  }

  add({ by, instruction_id: id }, error) {
    this.change([...this.waiting.filter((one) => one.id !== id || one.by !== by), { by, id, error }]);
  }

  get first() {
    return this.own[0];
  }

  take({ by, id }) {
    this.change(this.waiting.filter((one) => one.id !== id || one.by !== by));
  }

  change(waiting) {
    this.waiting = waiting;
    keep(this.store, waiting);
  }

  // What to say while `shown`, {id, error}, is the one that was gone back to.
  words(shown) {
    const ids = [...new Set([shown.id, ...this.own.map((one) => one.id)])];
    if (ids.length === 1) return `Not stored: ${shown.error}`;
    const named = ids.slice(0, NAMED).join(", ") + (ids.length > NAMED ? ", …" : "");
    return `Not stored: ${ids.length} decisions (items ${named}). This is the first: ${shown.error} The next comes after it.`;
  }
}
