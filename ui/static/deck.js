// The item that is shown and the line of commands.
// Commands wait in line and are applied in order. A deciding key belongs to the item that was drawn when it was pressed:
// when another one is there at its turn, it is dropped and said so. An error empties the line. Nothing is decided unseen.
// A decision that goes on to the next item shows it at once, because the shelf has it; the outbox brings it to the server.

import { DEFAULT, settleRun } from "./address.js";
import { Around } from "./around.js";
import { makeId } from "./asking.js";
import { BOUND, LEAVING, PAIRING, REMARKS, STAYING, STEPS, TAGGING, UNDOING, withState } from "./commands.js";
import { storeOf } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Poll } from "./poll.js";
import { Refused } from "./refused.js";
import { Entry, Shelf } from "./shelf.js";
import { Storing } from "./storing.js";
import { Unsent } from "./unsent.js";
import { user } from "./who.js";

const SHRINKING = new Set(["unreviewed", "audit", "mine", "disagreements"]); // views that a decided item leaves

export class Deck {
  constructor(frame, candidates, editor, server) {
    Object.assign(this, { frame, candidates, editor, server });
    this.entry = null; // what is drawn (shelf.js); its item has the ids, the pair, the pending side
    this.place = null;
    this.painted = null; // the id of the item that the eye has
    this.line = []; // commands that wait
    this.busy = false;
    this.touched = false; // has the annotator done anything yet? Until then a better first item may take the place
    this.refused = new Refused(storeOf("refused", frame.root.dataset), () => this.outbox.user); // the page goes back to them, one by one
    this.back = null; // {id, error} of the refused decision whose item is shown again
    this.view = { ...DEFAULT };
    this.shelf = new Shelf();
    this.by = user(); // whose page it is
    this.client = makeId(); // whose search a newer one gives up
    this.unsettled = null; // the view from before, while another one is searched for
    this.cancel = null; // gives that search up
    this.lostUndo = null; // {what, id} of an undo or redo whose answer did not come
    this.showings = 0;
    this.drawnAt = performance.now();
    this.around = new Around(server, this.shelf, this, () => this.outbox.size > 0, (deck) => this.onPlace(deck));
    this.poll = new Poll(frame, this);
    this.outbox = new Outbox(server, this.by, new Unsent(frame.root.dataset), () => this.around.ask(), {
      answer: (command, answer, orphan) => this.onAnswer(command, answer, orphan),
      login: () => this.storing.onLogin(),
      others: () => this.storing.tell(),
      deck: (deck, request) => (deck ? this.around.take(deck, request) : this.around.fetch()),
      count: (count, failing, kept) => this.storing.onCount(count, failing, kept),
    });
    this.storing = new Storing(frame, this);
    this.remarks = null; // what goes along with decisions (remarks.js)
    this.words = (template) => template; // writes the keys of actions into a text (keys.js)
    this.onView = () => {}; // another view is to be shown
    this.onShow = () => {}; // an item is drawn
    editor.onClose = () => this.run();
  }

  get item() {
    return this.entry && this.entry.item;
  }

  get shownId() {
    return this.item ? this.item.instruction_id : null;
  }

  start(view, instructionId) {
    Object.assign(this.view, view);
    this.onView();
    this.outbox.start();
    this.push(instructionId !== null ? { op: "show", instruction_id: instructionId } : { op: "open", instruction_id: null });
    this.touched = instructionId !== null;
  }

  // Show another view, from its beginning or at one of its items. False while somebody is writing an answer.
  setView(view, instructionId = null) {
    if (this.refuseWhileEditing()) return false;
    const before = (this.unsettled = this.unsettled || { ...this.view });
    if (this.cancel) this.cancel(true);
    settleRun(Object.assign(this.view, view));
    this.shelf.clear();
    this.onView();
    this.push({ op: "show", instruction_id: instructionId, before });
    return true;
  }

  refuseWhileEditing() {
    if (this.editor.isOpen) this.frame.say("Save the edit or leave it first (Ctrl+Enter, Esc).", "hint");
    return this.editor.isOpen;
  }

  push(command, pressed = performance.now()) {
    if (!(command.op === "edit" && command.text !== undefined) && this.refuseWhileEditing()) return;
    this.line.push({ ...command, pressed, on: this.painted });
    this.touched = true;
    this.run();
  }

  // The editor opens next: keys until then are meant for it.
  get willEdit() {
    return this.line.some((command) => command.op === "edit" && command.text === undefined);
  }

  async run() {
    if (this.busy) return;
    this.busy = true;
    this.tellBusy();
    try {
      for (;;) {
        const isBegun = this.item || !this.line.length; // after a reload the page comes to its place first
        if (this.refused.size && !this.back && isBegun && !this.editor.isOpen) await this.goBack(this.refused.first);
        else if (this.line.length) await this.apply(this.line.shift());
        else break;
      }
    } finally {
      this.busy = false;
      this.tellBusy();
      this.poll.schedule();
    }
  }

  tellBusy() {
    if (this.busy || this.outbox.size) this.frame.root.dataset.busy = "1";
    else delete this.frame.root.dataset.busy;
  }

  async apply(command) {
    const { frame, item } = this;
    const deciding = command.choose || LEAVING.has(command.op) || STAYING.has(command.op);
    if ((command.choose || BOUND.has(command.op)) && (!item || command.on !== this.shownId)) {
      if (item) frame.say("A key was pressed before this item was drawn and was not used: press it again.", "hint");
      return;
    }
    if (deciding) this.lostUndo = null; // the next undo is about this one
    if (command.op === "edit" && command.text === undefined) return this.openEditor();
    if (REMARKS.has(command.op) && !item.own) return this.remarks.wait({ ...command, instruction_id: item.instruction_id });
    if (command.choose) {
      const card = this.candidates.numbered(command.choose);
      if (!card) return frame.say(`There is no candidate ${command.choose} here.`, "hint");
      command.op = "mark";
      command.candidate_id = Number(card.dataset.candidateId);
    }
    if (command.op === "undo" && !command.of && item && Object.keys(item.pending).length) {
      command.op = "show";
      item.pending = {};
    }
    const step = LEAVING.has(command.op) ? 1 : STEPS[command.op];
    const ready = step && this.shelf.around === this.shownId && this.shelf.peek(step);
    if (ready && (command.op !== "accept" || item.decidable)) return this.step(step, ready, command);
    const answer = await (deciding ? this.outbox.add(withState(command, this)) : this.send(command));
    if (!this.line.some((waiting) => waiting.before)) this.unsettled = null;
    if (answer.superseded) return;
    const whole = answer.item && answer.item.own && !Object.keys(answer.item.pending).length; // half a pair waits here alone
    const stored = deciding && !TAGGING.has(command.op) && !answer.error && (LEAVING.has(command.op) || whole);
    if (stored || answer.kept) this.remarks.forget(item.instruction_id);
    if (answer.cancelled) return this.setBack(command.before, "Cancelled: this is the view from before.");
    if (answer.error) {
      this.line = [];
      if (command.before) return this.setBack(command.before, answer.error, answer.level);
      if (answer.parts) this.draw(answer, { quiet: true }); // somebody else changed it: show what stands now
      if (command.of && item) this.onShow(item, true); // the history that it was pressed in is not what there is now
      frame.say(answer.error, answer.level);
      if (command.op === "edit" && command.text && !answer.kept) this.openEditor(command.text);
    } else {
      this.draw(answer, command);
      if (stored && PAIRING.has(command.op) && !answer.message) this.frame.say(this.words("Stored. {accept} or {next}: next item."), "hint");
    }
  }

  // To an item that is ready. Nothing is awaited here: it is drawn in the same turn as the key.
  step(step, entry, command) {
    const { view, item, place } = this;
    const decides = LEAVING.has(command.op);
    const body = decides && withState(command, this);
    if (decides) this.remarks.forget(item.instruction_id);
    this.shelf.move(step, this.entry, decides);
    const at = { ...entry.place, reviewed: place.reviewed, reviewable: place.reviewable };
    const skipped = (item.stands || item.own)?.verdict === "skip";
    const waits = item.decision_id === null || skipped;
    if (decides && command.op !== "skip" && waits) at.reviewed += 1;
    if (place.position && entry.place.position) {
      const leaves = decides && SHRINKING.has(view.filter) && !(skipped && command.op === "skip");
      at.total = place.total - (leaves ? 1 : 0);
      at.position = place.position + (leaves ? 0 : step);
    }
    this.show(entry, command, at);
    if (decides) this.outbox.add({ ...body, lean: true });
    else this.around.fetch();
  }

  openEditor(text) {
    this.editor.open(this.item, (command) => this.push(command), text);
  }

  // Pressed again after its answer was lost it is the same one.
  nameUndo({ op, of }) {
    const what = `${op} ${of || ""}`;
    if (!this.lostUndo || this.lostUndo.what !== what) this.lostUndo = { what, id: makeId() };
    return this.lostUndo.id;
  }

  // What asks or undoes waits until every decision before it is stored.
  async send(command) {
    const refused = this.refused.size;
    const blocked = await this.outbox.drain();
    if (blocked) return blocked;
    if (UNDOING.has(command.op) && this.refused.size > refused) return { error: "It was not stored.", level: "hint" };
    if (UNDOING.has(command.op)) command.client_id = this.nameUndo(command);
    try {
      const { review } = command.before ? this.server.unhurried : this.server; // a search is given up by hand
      const asked = review(withState(command, this));
      if (!command.before) {
        const answer = await asked; // Gradio answers a failed request with nothing
        if (answer && UNDOING.has(command.op)) this.lostUndo = null;
        return answer || (await this.outbox.explain());
      }
      const cancelled = new Promise((resolve) => (this.cancel = (superseded) => {
        // A newer search gives up the older one by itself.
        if (!superseded) this.server.review({ op: "cancel", client: this.client }).catch(() => {});
        resolve({ cancelled: true, superseded });
      }));
      this.frame.tellSearching(() => this.cancel(false));
      return (await Promise.race([cancelled, asked])) || (await this.outbox.explain());
    } catch {
      return await this.outbox.explain();
    } finally {
      this.cancel = null;
      this.frame.tellSearching(null);
    }
  }

  setBack(view, words, level = "hint") {
    Object.assign(this.view, view);
    this.onView();
    this.frame.say(words, level);
    this.around.fetch();
  }

  // Draw what the server answered.
  draw(answer, command) {
    if (answer.by && answer.by !== this.by) this.onReader(answer.by);
    if (answer.filter && answer.filter !== this.view.filter) this.begin(answer.filter);
    if (!answer.item) return this.drawNothing(answer, command);
    const entry = new Entry(answer);
    const [before, was] = [this.shownId, this.item];
    this.shelf.drop(entry.item.instruction_id);
    const isOther = before === entry.item.instruction_id && (was.chosen !== entry.item.chosen || was.rejected !== entry.item.rejected);
    const changed = command.quiet && isOther ? "The pair of this item has changed: look at it again." : "";
    this.show(entry, command, answer.place, answer.message || changed);
    this.frame.tellOrder(answer.fixed_order);
    if (before !== this.shownId || UNDOING.has(command.op)) this.shelf.around = null;
    this.around.fetch();
  }

  // The server began in one's own queue.
  begin(filter) {
    this.view.filter = filter;
    this.shelf.clear();
    this.onView();
  }

  drawNothing(answer, command) {
    const { frame } = this;
    this.entry = this.painted = this.place = this.back = null;
    this.showings += 1;
    frame.$("review-body").hidden = true;
    frame.$("review-empty").hidden = false;
    frame.drawEmpty(answer.empty, (action) => this.onEmptyAction(action));
    frame.drawPlace(null);
    frame.say(answer.message || "", "hint");
    frame.root.dataset.item = frame.root.dataset.painted = "";
    if (command.pressed) this.countDraw();
    this.enableActions();
    this.onShow(null);
  }

  show(entry, command, place, message = "") {
    const { frame, candidates } = this;
    const same = this.shownId === entry.item.instruction_id;
    this.entry = entry;
    this.place = place;
    frame.$("review-body").hidden = false;
    frame.$("review-empty").hidden = true;
    frame.show(entry, same && this.editor.isOpen ? "review-candidates" : null); // someone is writing there
    frame.drawPlace(place);
    if (!same) {
      this.painted = this.back = null;
      this.drawnAt = performance.now();
      frame.$("review-candidates").scrollTop = 0;
    }
    candidates.select(same ? candidates.selected : null);
    if (!command.quiet || message) frame.say(message, "hint"); // a refresh leaves what was said before
    if (!same && this.editor.hasDraft(entry.item)) frame.say("Your unsaved edit is kept: Edit goes on with it.", "hint");
    frame.root.dataset.item = entry.item.instruction_id;
    this.enableActions();
    const showing = ++this.showings;
    const onPainted = () => requestAnimationFrame(() => {
      if (showing !== this.showings) return;
      frame.root.dataset.painted = this.painted = this.shownId;
      if (!command.pressed) return;
      frame.root.dataset.latency = (performance.now() - command.pressed).toFixed(1);
      this.countDraw();
    });
    if (entry.isReady) onPainted();
    else entry.ready.then(onPainted);
    this.onShow(entry.item, same);
    this.tellAhead();
  }

  // How many keys have led to what is drawn: tests and benchmarks wait for it.
  countDraw() {
    const { dataset } = this.frame.root;
    dataset.draws = Number(dataset.draws || 0) + 1;
  }

  // How many items can be shown at once.
  tellAhead() {
    const { around, ahead, entries } = this.shelf;
    this.frame.root.dataset.ahead = around === this.shownId ? ahead.filter((id) => entries.has(id)).length : 0;
  }

  enableActions() {
    for (const button of this.frame.element.querySelectorAll(".review-actions button")) {
      button.disabled = !this.item && !UNDOING.has(button.dataset.op);
    }
  }

  onEmptyAction(action) {
    if (action === "all" || action === "flagged") this.setView({ ...DEFAULT, filter: action, order: this.view.order });
    else if (window.m3po) window.m3po.openTab(action);
  }

  // What became of decisions

  // The server answered somebody else than before: what is at hand was drawn for that one.
  onReader(by) {
    if (this.by) this.shelf.clear();
    this.by = by;
    if (by !== this.outbox.user) this.outbox.enter(by);
  }

  // `orphan`: an earlier page of this tab sent it. What is awaited is answered where it is awaited.
  onAnswer(command, answer, orphan) {
    if (!answer.error || !(command.lean || orphan)) return;
    let { error } = answer;
    if (command.op === "edit" && command.text) {
      this.editor.drafts.put(command.instruction_id, command.text, command.by);
      error += " Your text is kept: edit again to go on with it.";
    }
    this.remarks.restore(command);
    this.refused.add(command, error);
    this.line = [];
    this.frame.say(this.back ? this.refused.words(this.back) : error, "error");
    this.run();
  }

  // To the item of a refused decision. The next one waits until this is decided or left.
  async goBack(refused) {
    const now = await this.send({ op: "show", instruction_id: refused.id });
    if (!now.error) {
      this.draw(now, { quiet: true });
      this.refused.take(refused);
    }
    this.back = refused; // where the server does not answer, it is tried again when the page goes on
    this.frame.say(this.refused.words(refused), "error");
  }

  // The server has told how the shown item stands now.
  onPlace(deck) {
    this.tellAhead();
    if (this.outbox.size || this.busy || this.editor.isOpen) return;
    this.place = deck.place;
    this.frame.drawPlace(deck.place);
    // Somebody else decided it, or the pairs were picked anew: draw it as it is now, once.
    if (deck.stamp !== this.entry.stamp && deck.stamp !== this.refreshedFor) {
      this.refreshedFor = deck.stamp;
      this.refresh();
    }
  }

  // The tab is opened: scores, answers and pairs may have changed meanwhile, those of the items at hand too.
  reopen() {
    if (this.editor.isOpen) return;
    this.shelf.clear();
    this.refresh();
  }

  refresh() {
    if (this.editor.isOpen) return;
    this.line.push(this.touched ? { op: "show", quiet: true } : { op: "open", quiet: true, instruction_id: null });
    this.run();
  }
}
