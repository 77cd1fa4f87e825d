// The playground: an image and a question go to one model or two, whose answers come word by word.

import { LONG, patient } from "./asking.js";
import { keep, recall, storeOf } from "./memory.js";
import { Past } from "./playground_past.js";
import { Picture } from "./playground_picture.js";
import { readPlace, writePlace } from "./playground_place.js";
import { user } from "./who.js";

const SILENT = { error: "The server does not answer: is the app still running? Then ask again." };
const WAITING = "The server does not answer: it is asked again until it does. Stop ends that.";
const AGAIN = 1000; // ms
const OTHER = "other";
const NOBODY = "nobody";

export function start(element, server) {
  new Playground(element, patient(server, LONG)).start();
}

function group(label, options) {
  const made = Object.assign(document.createElement("optgroup"), { label, hidden: !options.length });
  made.append(...options);
  return made;
}

class Playground {
  constructor(element, server) {
    Object.assign(this, { element, server });
    this.root = element.querySelector("#playground-root");
    this.store = storeOf(`playground.${user()}`, this.root.dataset);
    this.sides = [...element.querySelectorAll(".playground-side")];
    this.asking = false;
    this.listed = false; // whether the models to choose from have come
    this.picture = new Picture(this, () => this.remember());
    this.past = new Past(this);
  }

  $(name) {
    return this.element.querySelector(`#playground-${name}`);
  }

  get isShown() {
    return this.root.isConnected && this.root.offsetParent !== null;
  }

  start() {
    this.$("ask").onclick = () => this.ask();
    this.$("stop").onclick = () => this.stop();
    this.$("release").onclick = async () => {
      await this.call({ op: "release" });
      this.list();
    };
    this.$("next").onclick = () => this.goOn();
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.ask();
    });
    document.addEventListener("keydown", (event) => {
      const elsewhere = !this.root.contains(event.target) && this.isShown;
      if (elsewhere && event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.ask();
    });
    for (const side of this.sides) {
      const change = () => {
        this.settle(side);
        this.age([side]);
        this.remember();
      };
      for (const field of side.querySelectorAll("select, input")) field.onchange = change;
    }
    for (const name of ["question", "temperature", "tokens", "seed"]) this.$(name).onchange = () => this.remember();
    addEventListener("hashchange", () => this.onAddress());
    addEventListener("m3po:tab", (event) => event.detail === "playground" && this.writeAddress());
    // Shown for the first time or again: a run may have finished meanwhile.
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.list()).observe(this.root);
    this.past.draw();
    this.begin();
  }

  // What the address says, else what stood here in this browser tab before.
  async begin() {
    const kept = recall(this.store, {});
    const place = readPlace(location.hash) || readPlace(kept.place || "");
    await this.list(place);
    if (place) await this.take(place);
    if (kept.asked && !this.asking) this.follow(kept.asked);
  }

  async onAddress() {
    const place = readPlace(location.hash);
    if (!place || location.hash === `#${this.write()}`) return;
    await this.list(place);
    await this.take(place);
  }

  // Fill the fields from a place; what it does not say stays, but for the image.
  async take(place) {
    for (const name of ["question", "temperature", "tokens", "seed"]) if (place[name] !== undefined) this.$(name).value = place[name];
    for (const [at, side] of this.sides.entries()) {
      const given = place.sides[at];
      if (given) this.choose(side, given);
    }
    if (place.item || place.image) await this.picture.take(place.item ? { op: "item", id: place.item } : { op: "picture", image: place.image });
    else this.picture.show({ images: [], item: null, html: "", name: "" });
  }

  // The models to choose from. Without a choice before: what the newest run began with, and the run.
  async list(place = null) {
    const choices = await this.insist({ op: "choices" });
    if (choices.error) return this.say(choices.error);
    const own = choices.policy ? `the workspace's policy · ${choices.policy.split("/").pop()}` : "the workspace's policy (none is named)";
    for (const [at, side] of this.sides.entries()) {
      const select = side.querySelector("select");
      const was = this.listed ? select.value : null;
      const named = choices.runs.map((run) => new Option(run.name, `run-${run.run}`));
      const began = group("Before a run", choices.runs.map((run) => new Option(`before run ${run.run} · ${run.began}`, `before-${run.run}`)));
      select.replaceChildren(new Option(own, "own"), ...named, began, new Option("another model or adapter …", OTHER));
      if (at === 1) select.append(new Option("nobody: one answer alone", NOBODY));
      const first = choices.runs.length ? [`before-${choices.runs[0].run}`, `run-${choices.runs[0].run}`] : ["own", NOBODY];
      const there = (value) => [...select.options].some((option) => option.value === value);
      select.value = was !== null && there(was) ? was : first[at];
      this.settle(side);
    }
    this.listed = true;
    this.$("memory").hidden = !choices.loaded || this.asking;
    this.$("loaded").textContent = "Models stay loaded for ten minutes after the last question.";
    if (!this.asking) this.note(choices.busy ? [choices.busy] : []);
    if (place) for (const [at, side] of this.sides.entries()) if (place.sides[at]) this.choose(side, place.sides[at]);
  }

  choose(side, { model, policy, adapter }) {
    const select = side.querySelector("select");
    if (![...select.options].some((option) => option.value === model)) {
      return this.say(`There is no ${model.replace("-", " ")} with a finished adapter to choose: another model is chosen.`);
    }
    select.value = model;
    side.querySelector("[data-field=policy]").value = policy || "";
    side.querySelector("[data-field=adapter]").value = adapter || "";
    this.settle(side);
  }

  // What stands there is the answer to something else now.
  age(sides = this.sides) {
    for (const side of sides) side.querySelector(".playground-answer").classList.add("stale");
  }

  settle(side) {
    const { value } = side.querySelector("select");
    side.querySelector(".playground-other").hidden = value !== OTHER;
    side.querySelector(".playground-answer").hidden = value === NOBODY;
  }

  // What is chosen, as the address has it.
  chosen() {
    return this.sides.map((side) => {
      const field = (name) => side.querySelector(`[data-field=${name}]`).value.trim();
      const model = field("model");
      return model === OTHER ? { model, policy: field("policy"), adapter: field("adapter") } : { model };
    });
  }

  // The same as the server takes it.
  speakers() {
    return this.chosen().filter(({ model }) => model !== NOBODY).map(({ model, policy, adapter }) => {
      const [kind, run] = model.split("-");
      if (model === OTHER) return { policy, adapter };
      return run ? { run: Number(run), before: kind === "before" } : {};
    });
  }

  options() {
    const [dtype, quantise] = ["dtype", "quantise"].map((name) => this.$(name).value);
    const trust = this.$("trust").checked;
    return dtype !== "auto" || quantise || trust ? { dtype, quantise, trust_remote_code: trust } : null;
  }

  async ask(again = false) {
    if (this.asking) return;
    this.say("");
    const number = (name) => (this.$(name).value.trim() === "" ? null : Number(this.$(name).value));
    const asked = {
      op: "ask", question: this.$("question").value, sides: this.speakers(), images: this.picture.images,
      item: this.picture.item, options: this.options(),
      temperature: number("temperature"), max_new_tokens: number("tokens"), seed: number("seed"),
    };
    this.setAsking(true);
    for (const side of this.sides) {
      const box = side.querySelector(".playground-answer");
      box.replaceChildren();
      box.classList.remove("stale");
    }
    const begun = await this.call(asked);
    if (begun.error) {
      this.setAsking(false);
      if (begun.gone && !again && (await this.picture.sendAgain())) return this.ask(true); // the app was started anew
      this.$("stop").disabled = !begun.error.includes("press Stop"); // another page of this person may have asked
      return this.say(begun.error);
    }
    this.remember(begun.question);
    await this.follow(begun.question);
  }

  // Draw what is said until all is said; also after a reload. It is forgotten only where the server has it no more.
  async follow(question) {
    this.setAsking(true);
    let [seen, told] = [-1, null];
    do {
      told = await this.insist({ op: "look", question, seen });
      if (told.error) break;
      seen = told.version;
      this.draw(told);
    } while (!told.done);
    this.setAsking(false);
    this.root.dataset.answered = told.error ? "" : question;
    if (told.gone) this.remember("");
    if (told.gone && this.past.find(question)) return this.draw({ ...this.past.find(question), notes: [] });
    if (told.error) return this.say(told.error);
    this.past.add({ id: question, question: this.$("question").value, place: this.write(), thumb: this.picture.thumb(), sides: told.sides });
    await this.list();
    this.note(told.notes);
  }

  draw(told) {
    const shown = this.sides.filter((side) => side.querySelector("select").value !== NOBODY);
    for (const [at, html] of told.sides.entries()) {
      const box = shown[at]?.querySelector(".playground-answer");
      if (!box) continue;
      box.classList.remove("stale");
      if (box.innerHTML !== html) box.innerHTML = html;
    }
    this.note(told.notes);
  }

  note(words) {
    this.$("notes").textContent = words.join("\n");
    this.$("notes").hidden = !words.length;
  }

  async stop() {
    this.$("stop").disabled = true;
    const { error } = await this.call({ op: "stop" });
    this.waits = false;
    if (error) this.say(error);
    else if (!this.asking) this.say("");
  }

  // The next held-out image, and the same question, or its own.
  async goOn() {
    if (this.asking) return;
    const found = await this.picture.take({ op: "next", after: this.picture.item });
    if (!found) return;
    const typed = this.$("question").value.trim();
    if (!typed || this.$("own").checked) this.$("question").value = found.question;
    this.remember();
    if (typed) await this.ask();
  }

  setAsking(asking) {
    this.asking = asking;
    this.root.dataset.asking = asking ? "1" : "";
    this.$("ask").disabled = this.$("next").disabled = asking;
    this.$("stop").disabled = !asking;
    if (asking) this.$("memory").hidden = true;
  }

  write() {
    const fields = Object.fromEntries(["question", "temperature", "tokens", "seed"].map((name) => [name, this.$(name).value]));
    return writePlace({ ...fields, sides: this.chosen(), ...this.picture.place() });
  }

  remember(asked = recall(this.store, {}).asked) {
    keep(this.store, { ...recall(this.store, {}), place: this.write(), asked });
    this.writeAddress();
  }

  writeAddress() {
    if (this.isShown && this.listed) history.replaceState(null, "", `#${this.write()}`);
  }

  async call(command) {
    try {
      return (await this.server.playground(command)) || SILENT;
    } catch {
      return SILENT;
    }
  }

  // What is so, asked again until the server answers, or Stop is pressed: a network may fail for a while.
  async insist(command) {
    this.waits = true;
    let told = await this.call(command);
    if (told !== SILENT) return told;
    this.$("stop").disabled = false;
    while (told === SILENT && this.waits) {
      this.say(WAITING);
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      told = await this.call(command);
    }
    if (told !== SILENT) this.say("");
    this.$("stop").disabled = !this.asking;
    return told;
  }

  say(text) {
    this.$("message").textContent = text;
    this.$("message").hidden = !text;
  }
}
