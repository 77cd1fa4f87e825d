// Decisions on their way to the server: sent in the background, in their order, until the server says what became of them.
// Each has an id of its own, so that one sent again is not stored twice. What is not acknowledged outlives a reload.

import { keep, recall } from "./memory.js";

const PATIENCE = 20_000; // ms for an answer
const WAITS = [500, 1000, 2000, 4000]; // ms before it is sent again
const BATCH = 20;

export class Outbox {
  // `around()` says which items to send along with the answer (null: none); `on.answer(command, answer)`,
  // `on.deck(deck, request)` (null: it could not be had) and `on.count(unacknowledged, failing, kept)` are told.
  constructor(server, store, around, on) {
    Object.assign(this, { server, store, around, on });
    this.waiting = recall(store, []);
    this.settled = new Map(); // client id -> what waits for its answer
    this.empty = []; // what waits until nothing is under way
    this.pumping = false;
    this.failing = false;
    this.tries = 0;
    this.holdPage = (event) => event.preventDefault();
  }

  get size() {
    return this.waiting.length;
  }

  // Sends what an earlier page of this tab could not.
  start() {
    this.changed();
    this.pump();
  }

  // Resolves with the server's answer.
  add(command) {
    const kept = { ...command, client_id: makeId() };
    this.waiting.push(kept);
    this.changed();
    const answer = new Promise((resolve) => this.settled.set(kept.client_id, resolve));
    this.pump();
    return answer;
  }

  // Resolves when nothing is under way.
  drain() {
    return this.size ? new Promise((resolve) => this.empty.push(resolve)) : Promise.resolve();
  }

  changed() {
    this.kept = keep(this.store, this.waiting);
    // Only while something could be lost does the browser ask before it leaves.
    removeEventListener("beforeunload", this.holdPage);
    if (this.size) addEventListener("beforeunload", this.holdPage);
    this.on.count(this.size, this.failing, this.kept);
  }

  async pump() {
    if (this.pumping) return;
    this.pumping = true;
    while (this.size) {
      const batch = this.waiting.slice(0, BATCH);
      await null; // the page draws what it shows next first
      const deck = batch.length < this.size ? null : this.around(); // it must know of all that was decided
      const result = await this.send({ op: "batch", commands: batch, deck });
      this.failing = !result;
      if (!result) {
        this.changed();
        await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(this.tries++, WAITS.length - 1)]));
        continue;
      }
      this.tries = 0;
      this.settle(batch, result);
      if (deck) this.on.deck(result.deck && !result.deck.error ? result.deck : null, deck.request);
    }
    this.pumping = false;
    for (const resolve of this.empty.splice(0)) resolve();
  }

  async send(body) {
    try {
      return await inTime(this.server.review(body)); // Gradio answers a failed request with nothing
    } catch {
      return null;
    }
  }

  settle(batch, result) {
    this.waiting = this.waiting.slice(batch.length);
    this.changed();
    batch.forEach((command, i) => {
      const answer = (result.answers || [])[i] || { error: result.error || "The server gave no answer.", level: "error" };
      const resolve = this.settled.get(command.client_id);
      this.settled.delete(command.client_id);
      this.on.answer(command, answer, !resolve);
      if (resolve) resolve(answer);
    });
  }
}

// What was promised; nothing where that takes too long, as it does for ever through a broken tunnel.
export async function inTime(promised) {
  let timer = null;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE)));
  try {
    return await Promise.race([promised, late]);
  } finally {
    clearTimeout(timer);
  }
}

// crypto.randomUUID is missing on a page that came over plain http from another machine.
export function makeId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
