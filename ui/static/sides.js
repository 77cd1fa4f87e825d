// Judging two models blind: one item after another by key or button. The page never knows which side is which model.

import { patient } from "./asking.js";

const SAID = { Digit1: "left", Digit2: "right", Digit3: "tie", Digit4: "both_bad" };

export function start(element, server) {
  new Sides(element, patient(server)).start();
}

class Sides {
  constructor(element, server) {
    Object.assign(this, { element, server });
    this.root = element.querySelector("#sides-root");
    this.item = null;
    this.busy = false;
  }

  $(name) {
    return this.element.querySelector(`#sides-${name}`);
  }

  start() {
    this.root.addEventListener("toggle", () => this.root.open && this.list());
    for (const name of ["first", "second"]) this.$(name).onchange = () => this.next();
    this.$("outcome").onclick = () => this.tell();
    this.$("verdicts").onclick = (event) => {
      const button = event.target.closest("[data-said]");
      if (button) this.vote(button.dataset.said);
    };
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
      const held = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat;
      if (typing || held || !(event.code in SAID) || !this.root.open || this.root.offsetParent === null) return;
      event.preventDefault();
      this.vote(SAID[event.code]);
    });
  }

  // The newest run against what it began with, unless two were chosen.
  async list() {
    const { models = [], error } = await this.ask({ op: "models" });
    if (error) return;
    if (models.length < 2) return this.say("Two models must have answered the held-out split: fine-tune once.");
    const chosen = ["first", "second"].map((name) => Number(this.$(name).value));
    for (const [place, name] of ["first", "second"].entries()) {
      const select = this.$(name);
      select.replaceChildren(...models.map((model) => new Option(model.name, model.run)));
      const kept = models.some((model) => model.run === chosen[place]);
      select.value = kept ? chosen[place] : models[1 - place].run;
    }
    await this.next();
  }

  get runs() {
    return { first: Number(this.$("first").value), second: Number(this.$("second").value) };
  }

  async next() {
    this.show(await this.ask({ op: "next", ...this.runs }));
  }

  async vote(said) {
    if (this.item === null || this.busy) return;
    this.show(await this.ask({ op: "vote", item: this.item, said, ...this.runs }));
  }

  async tell() {
    const { html, error } = await this.ask({ op: "outcome", ...this.runs });
    if (!error) this.$("message").innerHTML = html;
  }

  show({ item, html, progress, error }) {
    if (error) return;
    this.item = item;
    this.say("");
    this.$("item").innerHTML = html;
    this.$("progress").textContent = progress;
    this.$("verdicts").hidden = item === null;
    this.root.dataset.item = item === null ? "" : item;
  }

  // One command at a time: a second press while the first is stored would judge an item unseen.
  async ask(command) {
    this.busy = true;
    try {
      const answer = await this.server.sides(command);
      if (!answer) throw new Error("late");
      if (answer.error) this.say(answer.error);
      return answer;
    } catch {
      this.say("The server does not answer, and nothing was stored: is the app still running? Then try again.");
      return { error: true };
    } finally {
      this.busy = false;
    }
  }

  say(text) {
    this.$("message").textContent = text;
  }
}
