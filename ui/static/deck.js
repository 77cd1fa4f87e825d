// The item that is shown and the line of commands.
// Commands wait in line and are applied in order. A deciding key belongs to the item that was drawn when it was pressed:
// when another one is there at its turn, it is dropped and said so. An error empties the line. Nothing is decided unseen.

import { keep, recall } from "./memory.js";

const STORE = "m3po.review";
const DECIDING = new Set(["accept", "skip", "tie", "all_wrong", "flag", "mark", "swap", "edit"]);
const SILENT = {
  error: "The server does not answer: this may not have been stored. Is the app still running? Then try again.",
  level: "error",
};

export class Deck {
  constructor(frame, candidates, editor, server) {
    Object.assign(this, { frame, candidates, editor, server });
    this.item = null; // what is drawn: ids, pair, pending side
    this.line = []; // commands that wait
    this.busy = false;
    this.drawnAt = performance.now();
    this.touched = false; // has the annotator done anything yet? Until then a better first item may take the place
    this.pollTimer = null;
    this.fetched = new Set();
    const saved = recall(STORE, {});
    this.view = { filter: saved.filter || "all", order: saved.order || "m3p_score" };
    this.startAt = saved.instruction_id;
    this.onView = () => {}; // called when another view is to be shown
  }

  start() {
    this.push(this.startAt ? { op: "show", instruction_id: this.startAt } : { op: "open", instruction_id: null });
    this.touched = Boolean(this.startAt);
  }

  setView(view) {
    if (this.refuseWhileEditing()) return false;
    Object.assign(this.view, view);
    this.onView();
    this.push({ op: "show", instruction_id: null });
    return true;
  }

  refuseWhileEditing() {
    if (this.editor.isOpen) this.frame.say("Save the edit or leave it first (Ctrl+Enter, Esc).", "hint");
    return this.editor.isOpen;
  }

  push(command) {
    if (!(command.op === "edit" && command.text !== undefined) && this.refuseWhileEditing()) return;
    this.line.push({ ...command, pressed: performance.now(), on: this.item ? this.item.instruction_id : null });
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
    try {
      while (this.line.length) await this.apply(this.line.shift());
    } finally {
      this.busy = false;
      this.schedulePoll();
    }
  }

  async apply(command) {
    const { frame, item } = this;
    if ((command.choose || DECIDING.has(command.op)) && command.on !== (item ? item.instruction_id : null)) {
      return frame.say("A key was pressed before this item was drawn and was not used: press it again.", "hint");
    }
    if (command.op === "edit" && command.text === undefined) return this.openEditor();
    if (command.choose) {
      const card = this.candidates.numbered(command.choose);
      if (!card) return frame.say(`There is no candidate ${command.choose} here.`, "hint");
      command.op = "mark";
      command.candidate_id = Number(card.dataset.candidateId);
    }
    if (command.op === "undo" && item && Object.keys(item.pending).length) {
      command.op = "show";
      item.pending = {};
    }
    if (!item && DECIDING.has(command.op)) return;
    const answer = await this.send(command);
    if (answer.error) {
      this.line = [];
      if (answer.parts) this.draw(answer, { quiet: true }); // somebody else changed it: show what stands now
      frame.say(answer.error, answer.level);
      if (command.op === "edit" && command.text) this.openEditor(command.text);
    } else this.draw(answer, command);
  }

  openEditor(text) {
    this.editor.open(this.item, (command) => this.push(command), text);
  }

  async send(command) {
    const { pressed, choose, on, repeats, ...rest } = command;
    const { item, view } = this;
    const body = {
      instruction_id: item ? item.instruction_id : null,
      selection_id: item ? item.selection_id : null,
      chosen: item ? item.chosen : null,
      rejected: item ? item.rejected : null,
      pending: item ? item.pending : {},
      decision_id: item ? item.decision_id : null,
      seconds: Math.round(performance.now() - this.drawnAt) / 1000,
      view,
      ...rest,
    };
    this.frame.root.dataset.busy = command.op;
    try {
      return (await this.server.review(body)) || SILENT; // Gradio answers a failed request with nothing
    } catch {
      return SILENT;
    } finally {
      delete this.frame.root.dataset.busy;
    }
  }

  draw(answer, command) {
    const { frame, candidates } = this;
    const same = this.item && answer.item && this.item.instruction_id === answer.item.instruction_id;
    const item = (this.item = answer.item);
    if (!same) {
      candidates.selected = null;
      this.drawnAt = performance.now();
    }
    frame.$("review-body").hidden = !item;
    frame.$("review-empty").hidden = Boolean(item);
    if (item) {
      for (const [id, html] of Object.entries(answer.parts)) {
        if (id === "review-candidates" && same && this.editor.isOpen) continue; // someone is writing there
        frame.setPart(id, html);
      }
    } else {
      frame.drawEmpty(answer.empty, (action) => this.onEmptyAction(action));
      frame.$("review-position").textContent = "";
    }
    if (!same) frame.$("review-candidates").scrollTop = 0;
    // A refresh leaves what was said before.
    if (!(command && command.quiet) || answer.message) frame.say(answer.message || "", "hint");
    if (!same && this.editor.hasDraft(item)) frame.say("Your unsaved edit is kept: press E to go on with it.", "hint");
    if (candidates.selected !== null) candidates.select(candidates.selected);
    for (const button of frame.element.querySelectorAll(".review-actions button")) {
      button.disabled = !item && button.dataset.op !== "undo";
    }
    frame.root.dataset.item = item ? item.instruction_id : "";
    if (command && command.pressed) {
      requestAnimationFrame(() => {
        frame.root.dataset.latency = Math.round(performance.now() - command.pressed);
        frame.root.dataset.draws = Number(frame.root.dataset.draws || 0) + 1;
      });
    }
    keep(STORE, { ...this.view, instruction_id: item && item.instruction_id });
    if (item && !same) setTimeout(() => this.prefetch(), 30);
  }

  onEmptyAction(action) {
    if (action === "all") this.setView({ filter: "all" });
    else if (window.m3po) window.m3po.openTab(action);
  }

  // Neighbours' images are fetched while the annotator looks at this one.
  async prefetch() {
    if (this.busy || !this.item) return;
    try {
      const command = { op: "peek", instruction_id: this.item.instruction_id, view: this.view };
      const answer = await this.server.review(command);
      for (const url of (answer && answer.images) || []) {
        if (this.fetched.has(url)) continue;
        this.fetched.add(url);
        new Image().src = url;
      }
    } catch {
      // the next command will say it
    }
  }

  // Ask again by itself while nothing is ready yet, or while an edit is being scored.
  schedulePoll() {
    clearTimeout(this.pollTimer);
    const { item } = this;
    const wait = !item || item.waiting ? 2000 : item.scoring ? 1200 : 0;
    if (!wait) return;
    this.pollTimer = setTimeout(() => {
      if (!this.frame.root.isConnected) return;
      if (this.frame.isShown && !this.busy && !this.editor.isOpen) {
        this.line.push(this.touched ? { op: "show", quiet: true } : { op: "open", quiet: true, instruction_id: null });
        this.run();
      } else this.schedulePoll();
    }, wait);
  }
}
