// Decisions that the server did not take, until their items are shown again. A reload keeps them.

import { keep, recall } from "./memory.js";

const NAMED = 8; // items that are named one by one

export class Refused {
  constructor(store) {
    this.store = store;
    this.waiting = recall(store, []); // {id, error}, oldest first, each item once
  }

  get size() {
    return this.waiting.length;
  }

  add(id, error) {
    this.change([...this.waiting.filter((one) => one.id !== id), { id, error }]);
  }

  get first() {
    return this.waiting[0];
  }

  take(id) {
    this.change(this.waiting.filter((one) => one.id !== id));
  }

  change(waiting) {
    this.waiting = waiting;
    keep(this.store, waiting);
  }

  // What to say while `shown`, {id, error}, is the one that was gone back to.
  words(shown) {
    const ids = [...new Set([shown.id, ...this.waiting.map((one) => one.id)])];
    if (ids.length === 1) return `Not stored: ${shown.error}`;
    const named = ids.slice(0, NAMED).join(", ") + (ids.length > NAMED ? ", …" : "");
    return `Not stored: ${ids.length} decisions (items ${named}). This is the first: ${shown.error} The next comes after it.`;
  }
}
