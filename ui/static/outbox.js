// Decisions on their way to the server: sent in the background, in their order, until the server says what became of them.
// Each has an id of its own, so that one sent again is not stored twice. What is not acknowledged outlives a reload, and
// goes out under the login of who decided it alone: where that has ended, or is another's, it waits.

import { askWho, makeId } from "./asking.js";

const WAITS = [500, 1000, 2000, 4000]; // ms before it is sent again
const LOOK = 2000; // ms between two looks at who is logged in, while something waits for a login
const BATCH = 20;
const ORPHANED = 30_000; // ms after which another tab that did not bring its decisions to the server may be closed
const SILENT = "The server does not answer. Is the app still running? Then try again.";

export class Outbox {
  // `user` is logged in. `around()` says which items to send along with the answer (null: none); told are `on.answer(
  // command, answer)`, `on.deck(deck, request)` (null: it could not be had), `on.count(unacknowledged, failing, kept)`,
  // `on.login()` where somebody else is logged in, or nobody, and `on.others()` where another tab's decisions wait or went.
  constructor(server, user, unsent, around, on) {
    Object.assign(this, { server, user, unsent, around, on });
    this.waiting = [];
    this.kept = true; // a reload would find them again
    this.settled = new Map(); // client id -> what waits for its answer
    this.empty = []; // what waits until nothing is under way
    this.pumping = false;
    this.failing = false;
    this.tries = 0;
    this.holdPage = (event) => event.preventDefault();
    addEventListener("storage", ({ key }) => key && key.startsWith(unsent.prefix) && this.onOtherTab());
  }

  get size() {
    return this.waiting.length;
  }

  // What can go out under this login.
  get ready() {
    return this.waiting.filter((command) => command.by === this.user);
  }

  // Something waits for a login that there is not now.
  get isBlocked() {
    return this.user === "" || this.ready.length < this.size;
  }

  // Sends what an earlier page could not.
  start() {
    this.enter(this.user);
  }

  // Resolves with the server's answer.
  add(command) {
    const made = { ...command, by: command.by || this.user, client_id: makeId() };
    this.kept = this.unsent.put(made) && (this.kept || !this.size);
    this.waiting.push(made);
    this.changed();
    const answer = new Promise((resolve) => this.settled.set(made.client_id, resolve));
    if (this.isBlocked) this.answerBlocked();
    this.pump();
    return answer;
  }

  // Resolves when nothing is under way, with why not where something has to wait.
  async drain() {
    if (this.isBlocked) await this.look();
    if (this.pumping) await new Promise((resolve) => this.empty.push(resolve));
    return this.isBlocked ? this.why : null;
  }

  // Why there was no answer.
  async explain() {
    await this.look();
    return this.user === "" ? this.why : { error: SILENT, level: "error" };
  }

  get why() {
    if (this.user === "") return { error: "Your login has ended: log in again.", level: "error" };
    return { error: `${this.user} is logged in now: reload this page to go on.`, level: "error" };
  }

  // Who is logged in by now?
  async look() {
    const user = await askWho();
    if (user !== null && user !== this.user) this.enter(user);
  }

  // Another tab keeps a decision, or has brought it to the server.
  onOtherTab() {
    this.on.others();
    this.adoption ??= setTimeout(() => {
      this.adoption = null;
      if (!this.user) return; // the next login takes all
      this.adopt(ORPHANED);
      this.changed();
      this.pump();
      if (this.unsent.of(this.user).length > this.ready.length) this.onOtherTab();
    }, ORPHANED);
  }

  // Takes over what this person decided in another tab: it is stored once, even where that one sends it, too.
  adopt(age) {
    const here = new Set(this.waiting.map((command) => command.client_id));
    this.waiting.push(...this.unsent.of(this.user, age).filter((command) => !here.has(command.client_id)));
  }

  // Somebody is logged in, or nobody ("").
  enter(user) {
    this.user = user;
    this.failing = false;
    this.adopt();
    this.answerBlocked();
    this.on.login();
    this.changed();
    this.pump();
    this.watch();
  }

  // Nobody is kept waiting for an answer that comes with another login.
  answerBlocked() {
    for (const { by, client_id } of this.waiting) {
      const resolve = this.settled.get(client_id);
      if (!resolve || by === this.user) continue;
      this.settled.delete(client_id);
      resolve({ ...this.why, kept: true });
    }
  }

  watch() {
    clearTimeout(this.timer);
    if (this.isBlocked) this.timer = setTimeout(() => this.look().finally(() => this.watch()), LOOK);
  }

  changed() {
    // Only while something could be lost does the browser ask before it leaves.
    removeEventListener("beforeunload", this.holdPage);
    if (this.size && !(this.isBlocked && this.kept)) addEventListener("beforeunload", this.holdPage);
    this.on.count(this.size, this.failing, this.kept);
  }

  async pump() {
    if (this.pumping) return;
    this.pumping = true;
    for (let batch; (batch = this.ready.slice(0, BATCH)).length; ) {
      await null; // the page draws what it shows next first
      const deck = batch.length < this.size ? null : this.around(); // it must know of all that was decided
      const result = await this.send({ op: "batch", commands: batch, deck });
      if (!result) {
        const before = this.user;
        await this.look();
        if (this.user !== before) continue;
      }
      this.failing = !result;
      if (!result) {
        this.changed();
        await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(this.tries++, WAITS.length - 1)]));
        continue;
      }
      this.tries = 0;
      if (this.settle(batch, result) && deck) {
        this.on.deck(result.deck && !result.deck.error ? result.deck : null, deck.request);
      }
    }
    this.pumping = false;
    this.failing = false;
    for (const resolve of this.empty.splice(0)) resolve();
  }

  async send(body) {
    try {
      return await this.server.review(body); // Gradio answers a failed request with nothing
    } catch {
      return null;
    }
  }

  // False where somebody else is logged in.
  settle(batch, result) {
    const answers = batch.map((_, i) => {
      const given = (result.answers || [])[i];
      return given || { error: result.error || "The server gave no answer.", level: "error" };
    });
    const other = answers.find((answer) => answer.login !== undefined);
    const done = new Set(batch.filter((_, i) => answers[i].login === undefined));
    this.waiting = this.waiting.filter((command) => !done.has(command));
    this.changed();
    batch.forEach((command, i) => {
      if (!done.has(command)) return;
      this.unsent.drop(command);
      const resolve = this.settled.get(command.client_id);
      this.settled.delete(command.client_id);
      this.on.answer(command, answers[i], !resolve);
      if (resolve) resolve(answers[i]);
    });
    if (other) this.enter(other.login);
    return !other;
  }
}
