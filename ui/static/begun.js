// What somebody has begun and not sent, by item: kept over a reload in this browser tab. Each person has her own: who logs
// in after her in the same tab neither sees it nor loses it.

import { keep, recall, storeOf } from "./memory.js";

export class Begun {
  // `kind` names what it is, `who()` whose turn it is.
  constructor(kind, dataset, who) {
    this.store = storeOf(kind, dataset);
    this.who = who;
    this.kept = recall(this.store, {});
  }

  of(id) {
    return this.kept[keyOf(this.who(), id)] ?? null;
  }

  // Null takes it away.
  put(id, value, by = this.who()) {
    const key = keyOf(by, id);
    if (value === null) delete this.kept[key];
    else this.kept[key] = value;
    keep(this.store, this.kept);
  }
}

const keyOf = (by, id) => `${by}:${id}`; // no name of a user has a colon
