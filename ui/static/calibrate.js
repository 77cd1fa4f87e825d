// The Calibrate tab: sliders ask what another setting would pick, at once; buttons apply it or set the threshold.
// One question is under way at a time, so that a slider under the hand never piles up work on the server; an answer to a
// place that the slider has left is dropped, and the newest place is asked for.

import { LONG, patient } from "./asking.js";

const WAIT = 60; // ms after the last move of a slider
const ANY = 0.5; // the left end of the length ratio: no filter
const SILENT = { error: "The server does not answer: is the app still running? Then try again." };

export function start(element, server) {
  new Calibration(element, patient(server, LONG)).start();
}

class Calibration {
  constructor(element, server) {
    Object.assign(this, { element, server });
    this.root = this.$("root");
    this.knobs = [...element.querySelectorAll("[data-knob]")];
    this.current = {};
    this.which = "all";
    this.offset = 0;
    this.asked = 0; // number of the newest question
    this.timer = null;
  }

  $(name) {
    return this.element.querySelector(`#calibrate-${name}`);
  }

  start() {
    for (const knob of this.knobs) knob.addEventListener("input", () => this.onKnob());
    this.$("counts").addEventListener("click", (event) => {
      const button = event.target.closest("[data-which]");
      if (!button) return;
      this.which = button.dataset.which;
      this.offset = 0;
      this.ask();
    });
    this.$("flips").addEventListener("click", (event) => {
      const button = event.target.closest("[data-page]");
      if (!button) return;
      this.offset = Math.max(0, this.offset + Number(this.root.dataset.pageSize) * Number(button.dataset.page));
      this.ask();
    });
    this.$("apply").onclick = () => this.change({ op: "apply", knobs: this.read(), selection_id: this.selection });
    this.$("discard").onclick = () => {
      this.show(this.current);
      this.onKnob();
    };
    this.$("target").onchange = () => this.change({ op: "open" });
    this.$("accept").onclick = () => this.change({ op: "accept", score: this.readScore() });
    this.$("accept-none").onclick = () => this.change({ op: "accept_none" });
    this.$("audit").onclick = () =>
      this.change({ op: "audit", size: value(this.$("size")), seed: Math.floor(Math.random() * 2 ** 31) });
    // What was decided or selected elsewhere counts as soon as the tab is looked at.
    new IntersectionObserver((seen) => {
      if (seen.some((entry) => entry.isIntersecting)) this.change({ op: "open" });
    }).observe(this.root);
  }

  read() {
    const knobs = {};
    for (const knob of this.knobs) knobs[knob.dataset.knob] = knob.type === "range" ? Number(knob.value) : knob.value;
    if (knobs.length_ratio <= ANY) knobs.length_ratio = 0;
    return knobs;
  }

  show(settings) {
    for (const knob of this.knobs) {
      const setting = settings[knob.dataset.knob];
      knob.value = knob.dataset.knob === "length_ratio" && !setting ? ANY : setting;
    }
    this.label();
  }

  label() {
    const knobs = this.read();
    for (const knob of this.knobs) {
      if (knob.type !== "range") continue;
      const name = knob.dataset.knob;
      const text = name === "length_ratio" ? knobs[name] || "any" : knobs[name].toFixed(2);
      this.$(`${name}-value`).textContent = text;
      knob.setAttribute("aria-valuetext", text);
    }
    const moved = this.moved();
    this.$("apply").disabled = this.$("discard").disabled = !moved;
  }

  moved() {
    const knobs = this.read();
    return Object.keys(knobs).some((name) => knobs[name] !== this.current[name]);
  }

  onKnob() {
    this.label();
    this.offset = 0;
    this.asked += 1; // an answer that is under way is old now
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), WAIT);
  }

  // `message`: what a button did, to be read still when the answer is drawn.
  async ask(message = "") {
    const number = (this.asked += 1);
    if (this.asking) return;
    this.asking = true;
    const begun = performance.now();
    const question = { op: "what_if", knobs: this.read(), which: this.which, offset: this.offset };
    const answer = await this.send(question);
    this.asking = false;
    if (number !== this.asked) return this.ask(message);
    if (answer.error) return this.say(answer.error, true);
    this.say(message);
    this.draw(answer.parts);
    this.selection = answer.selection_id;
    this.root.dataset.answered = number;
    this.root.dataset.latency = Math.round(performance.now() - begun);
  }

  // A button: the answer tells what stands now.
  async change(command) {
    const target = value(this.$("target"));
    const untouched = !this.current.rule || !this.moved();
    const answer = await this.send({ ...command, target: target === null ? null : target / 100 });
    if (answer.error) return this.say(answer.error, true);
    this.say(answer.message || "");
    this.$("body").hidden = answer.empty;
    this.draw(answer.parts);
    this.current = answer.current;
    if (answer.empty) return;
    if (untouched || command.op === "apply") this.show(this.current);
    this.label();
    this.$("accept-none").hidden = this.$("audit").hidden = this.$("size-field").hidden = !answer.auto;
    if (document.activeElement !== this.$("score")) {
      this.$("score").value = answer.score === null ? "" : Math.floor(answer.score * 10000) / 10000;
      this.told = { score: answer.score, text: this.$("score").value };
    }
    this.ask(answer.message || "");
  }

  // The score as it was told, of which the field shows four digits; what somebody wrote there is taken as it is.
  readScore() {
    const field = this.$("score");
    return this.told && field.value === this.told.text ? this.told.score : value(field);
  }

  async send(command) {
    try {
      return (await this.server.calibrate(command)) || SILENT;
    } catch {
      return SILENT;
    }
  }

  draw(parts) {
    for (const [id, html] of Object.entries(parts)) this.element.querySelector(`#${id}`).innerHTML = html;
  }

  say(text, bad) {
    const box = this.$("message");
    box.textContent = text;
    box.className = bad ? "message-error" : "message-hint";
    box.hidden = !text;
  }
}

function value(field) {
  const number = field.value === "" ? null : Number(field.value);
  return Number.isFinite(number) ? number : null;
}
