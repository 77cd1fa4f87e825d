// The guideline beside the item: read by everybody, written by curators, in versions that can be looked at again.

import { Begun } from "./begun.js";
import { keep, recall } from "./memory.js";

const OPEN = "m3po.guideline.open";
const WHOLE = "text"; // there is one guideline
const KEPT = "Your unsaved guideline is kept: press Edit to go on.";

export class Guideline {
  constructor(frame, deck, server) {
    Object.assign(this, { frame, deck, server });
    this.begun = new Begun("guideline", frame.root.dataset, () => deck.by); // {text, reasons, after}
    this.shown = null; // the version that is shown, as the server answered it
    this.panel = frame.$("review-guideline");
    this.form = frame.$("guideline-form");
    this.draft = frame.$("guideline-draft");
    this.reasons = frame.$("guideline-reasons");
    this.select = frame.$("guideline-version");
    frame.$("guideline-close").onclick = () => this.toggle();
    frame.$("guideline-edit").onclick = () => this.edit();
    frame.$("guideline-leave").onclick = () => this.leave();
    frame.$("guideline-drop").onclick = () => this.drop();
    frame.$("guideline-save").onclick = () => this.save();
    this.select.addEventListener("change", () => {
      this.select.blur();
      this.read(Number(this.select.value));
    });
    this.form.addEventListener("input", () => this.keepDraft());
    this.form.addEventListener("keydown", (event) => this.onKey(event));
    if (recall(OPEN, false)) this.toggle();
  }

  toggle() {
    this.panel.hidden = !this.panel.hidden;
    this.frame.root.classList.toggle("guided", !this.panel.hidden);
    keep(OPEN, !this.panel.hidden);
    if (!this.panel.hidden) this.read();
  }

  // The items say which version is the newest.
  onShow(item) {
    if (!item) return;
    const newest = !this.shown || item.guideline === this.shown.versions[0];
    if (!this.panel.hidden && this.form.hidden && !newest) this.read();
  }

  async read(version) {
    this.take(await this.ask(version === undefined ? { op: "read" } : { op: "read", version }));
    if (this.shown && this.form.hidden && this.begun.of(WHOLE)) this.frame.say(KEPT, "hint");
  }

  async ask(asked) {
    try {
      return (await this.server.guideline(asked)) || { error: "The server does not answer." };
    } catch {
      return { error: "The server does not answer." };
    }
  }

  // False when the server refused.
  take(answer) {
    if (answer.error) {
      this.frame.say(answer.error, "error");
      return false;
    }
    this.shown = answer;
    this.select.replaceChildren(...answer.versions.map((n) => new Option(n ? `version ${n}` : "none yet", n)));
    this.select.value = answer.version;
    this.frame.$("guideline-by").textContent = answer.by;
    this.frame.$("guideline-text").innerHTML = answer.html; // made by ui/markdown.py and ui/markup.py, which escape every text
    this.panel.dataset.version = answer.version;
    return true;
  }

  edit() {
    if (!this.shown) return;
    const kept = this.begun.of(WHOLE);
    this.by = this.deck.by; // to the end: another login may come meanwhile
    this.after = kept ? kept.after : this.shown.versions[0];
    this.draft.value = kept ? kept.text : this.shown.text;
    this.reasons.value = kept ? kept.reasons : this.shown.reasons.join(", ");
    this.write(true);
    this.draft.focus();
    this.draft.setSelectionRange(0, 0);
    this.draft.scrollTop = 0;
  }

  write(on) {
    this.form.hidden = !on;
    this.panel.classList.remove("compared");
    this.frame.$("guideline-edit").hidden = on;
  }

  keepDraft() {
    this.begun.put(WHOLE, { text: this.draft.value, reasons: this.reasons.value, after: this.after }, this.by);
  }

  // What was written waits for the next Edit.
  leave() {
    const { text, reasons } = this.shown;
    if (this.draft.value === text && this.reasons.value === reasons.join(", ")) return this.drop();
    this.write(false);
    this.frame.say(KEPT, "hint");
  }

  drop() {
    this.begun.put(WHOLE, null, this.by);
    this.write(false);
  }

  async save() {
    const reasons = this.reasons.value.split(",").map((reason) => reason.trim()).filter(Boolean);
    const { after } = this;
    const written = await this.ask({ op: "write", text: this.draft.value, reasons, after });
    if (!this.take(written)) return this.catchUp();
    this.drop();
    this.frame.say(written.version === after ? "Nothing changed." : `This is version ${written.version} now.`, "hint");
    this.deck.reopen(); // the items bring the list of reasons
  }

  // What was written stays in the form; where another version came meanwhile, that one is shown above it, and the next
  // try comes after it.
  async catchUp() {
    const newest = await this.ask({ op: "read" });
    if (newest.error || newest.version === this.after) return;
    this.after = newest.version;
    this.keepDraft();
    const box = this.frame.$("guideline-text");
    this.panel.classList.add("compared");
    this.shown = newest;
    box.innerHTML = newest.html; // made by ui/markdown.py and ui/markup.py, which escape every text
  }

  onKey(event) {
    event.stopPropagation();
    if (event.key !== "Escape" && !(event.key === "Enter" && (event.ctrlKey || event.metaKey))) return;
    event.preventDefault();
    if (event.key === "Escape") this.leave();
    else this.save();
  }
}
