// The items before and after the one that is shown, ready to be shown: parsed, their images decoded.

export class Entry {
  // `answer`: one item as the server draws it. Its `html` was made by ui/markup.py, which escapes every text.
  constructor(answer) {
    this.item = answer.item;
    this.stamp = answer.stamp;
    this.place = answer.place;
    this.html = answer.parts;
    this.nodes = {};
    this.isReady = false;
    for (const [id, html] of Object.entries(answer.parts)) {
      const box = document.createElement("div");
      box.innerHTML = html;
      this.nodes[id] = [...box.childNodes];
      if (id === "review-image") this.images = [...box.querySelectorAll("img")];
    }
    // An image that cannot be had must not hold up the others; its place shows what it is.
    this.ready = Promise.allSettled((this.images || []).map((image) => image.decode())).then(() => (this.isReady = true));
  }
}

export class Shelf {
  constructor() {
    this.clear();
  }

  clear() {
    this.entries = new Map(); // instruction id -> Entry
    this.ahead = []; // ids, nearest first
    this.behind = [];
    this.around = null; // of which item; null: not known
    this.clearedAt = this.asked = (this.asked || 0) + 1; // answers to what was asked until now are of no use
    this.dropped = new Map(); // id -> the first request whose answer knows what was decided
  }

  // For the server: the stamps of what is here.
  get known() {
    // What waits for its scores changes without another stamp.
    const kept = [...this.entries].filter(([, entry]) => !entry.item.scoring && !entry.item.waiting);
    return Object.fromEntries(kept.map(([id, entry]) => [id, entry.stamp]));
  }

  // Each request has a number: an answer to one that was sent before a decision does not know of it.
  nextRequest() {
    return ++this.asked;
  }

  // The entry one step on or back from the shown item; null when it is not here.
  peek(step) {
    const id = (step > 0 ? this.ahead : this.behind)[0];
    return (id !== undefined && this.entries.get(id)) || null;
  }

  // Go that step, `from` the shown entry. After a decision it is no longer kept, and what lies behind is asked anew.
  move(step, from, decided) {
    const [taken, left] = step > 0 ? [this.ahead, this.behind] : [this.behind, this.ahead];
    this.around = taken.shift();
    if (decided) {
      this.drop(from.item.instruction_id);
      this.behind = [];
    } else {
      left.unshift(from.item.instruction_id);
      this.entries.set(from.item.instruction_id, from);
    }
  }

  drop(id) {
    this.entries.delete(id);
    this.dropped.set(id, this.asked + 1);
  }

  // What the server says of the items around one; false when that says nothing of the shown item's neighbours.
  take(deck, request, shownId) {
    for (const [id, answer] of Object.entries(deck.items)) {
      if ((this.dropped.get(Number(id)) || 0) <= request) this.entries.set(Number(id), new Entry(answer));
    }
    const at = deck.around === shownId ? 0 : deck.ahead.indexOf(shownId) + 1;
    if (deck.around !== shownId && !at) return false;
    this.around = shownId;
    this.ahead = deck.ahead.slice(at);
    if (!at) this.behind = deck.behind;
    const near = new Set([...this.ahead, ...this.behind, shownId]);
    for (const id of this.entries.keys()) if (!near.has(id)) this.entries.delete(id);
    return at === 0;
  }
}
