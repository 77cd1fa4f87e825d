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
    this.asked = 0; // number of the newest question
    this.chosen = null; // by hand: the runs by place
  }

  $(name) {
    return this.element.querySelector(`#sides-${name}`);
  }

  start() {
    this.root.addEventListener("toggle", () => this.root.open && this.list());
    for (const name of ["first", "second"]) {
      this.$(name).onchange = () => {
        this.chosen = this.runs;
        this.next();
      };
    }
    this.$("again").onclick = () => this.again();
    this.$("outcome").onclick = () => this.tell();
    this.$("verdicts").onclick = (event) => {
      const button = event.target.closest("[data-said]");
      if (button) this.vote(button.dataset.said);
    };
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
      const held = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat;
      if (typing || held || !(event.code in SAID || event.code === "KeyU") || !this.root.open || this.root.offsetParent === null) return;
      event.preventDefault();
      if (event.code in SAID) this.vote(SAID[event.code]);
      else if (!this.$("again").hidden) this.again();
    });
  }

  // The run that is looked at against what it began with, else the two newest, unless two were chosen here.
  async list() {
    const { models = [], error } = await this.ask({ op: "models" });
    if (error) return;
    if (models.length < 2) return this.say("Two models must have answered the held-out split: fine-tune once.");
    const shown = Number(document.querySelector("#results-overview tr.shown [data-show-run]")?.dataset.showRun);
    const measured = models.find(({ of, before }) => of === shown && models.some(({ run }) => run === before));
    const first = measured ? [measured.before, measured.run] : [models[1].run, models[0].run];
    for (const [place, name] of ["first", "second"].entries()) {
      const select = this.$(name);
      select.replaceChildren(...models.map((model) => new Option(model.name, model.run)));
      const kept = this.chosen && models.some(({ run }) => run === this.chosen[name]);
      select.value = kept ? this.chosen[name] : first[place];
    }
    await this.next();
  }

  get runs() {
    return { first: Number(this.$("first").value), second: Number(this.$("second").value) };
  }

  // What stands there is of another choice now: it is not judged any more, whatever comes of the question.
  async next() {
    this.drop();
    await this.show(this.ask({ op: "next", ...this.runs }));
  }

  async vote(said) {
    if (this.item === null) return;
    const { item, draw } = this;
    this.item = null; // a second press would judge an item unseen
    await this.show(this.ask({ op: "vote", item, said, draw, ...this.runs }));
  }

  async again() {
    await this.show(this.ask({ op: "again", ...this.runs }));
  }

  drop() {
    this.item = null;
    this.$("verdicts").hidden = true;
    this.$("item").replaceChildren();
    this.root.dataset.item = "";
  }

  async tell() {
    const { html, error } = await this.ask({ op: "outcome", ...this.runs });
    if (!error) this.$("message").innerHTML = html;
  }

  // Only the answer to the newest question counts; one that failed leaves nothing to judge.
  async show(asked) {
    const number = (this.asked += 1);
    const { item, draw, html, progress, judged, error } = await asked;
    if (number !== this.asked) return;
    if (error) return this.drop();
    Object.assign(this, { item, draw });
    this.say("");
    this.$("item").innerHTML = html;
    this.$("progress").textContent = progress;
    this.$("verdicts").hidden = item === null;
    this.$("again").hidden = !judged;
    this.root.dataset.item = item === null ? "" : item;
  }

  async ask(command) {
    try {
      const answer = await this.server.sides(command);
      if (!answer) throw new Error("late");
      if (answer.error) this.say(`${answer.error} Open this section again to go on.`);
      return answer;
    } catch {
      this.say("The server does not answer: is the app still running? Then open this section again to go on.");
      return { error: true };
    }
  }

  say(text) {
    this.$("message").textContent = text;
  }
}
