// The Browse page: what is drawn and brushed becomes a view, which the server counts and Review opens by its address.

import { defaultView, OUTCOMES, readAddress, sayRun, settleRun, TESTS, writeAddress } from "./address.js";
import { LONG, patient } from "./asking.js";
import { Histogram } from "./histogram.js";
import { keep, recall } from "./memory.js";
import { Plot } from "./plot.js";

const STORE = "m3po.browse";
const POLL = 1500; // ms, while a test is at work
const LABELS = { search: "Search", source: "Source", tag: "Tag", reason: "Reason", annotator: "Decided by" };

export function start(element, server) {
  new Browse(element.querySelector("#browse-root"), patient(server, LONG));
}

class Browse {
  constructor(root, server) {
    Object.assign(this, { root, server });
    this.view = defaultView();
    this.role = "rejected";
    this.first = 0; // place of the gallery's first card
    this.asked = 0;
    this.plot = new Plot(this.$("browse-plot"), {
      onArea: (area) => this.change({ area }),
      onPoint: (id) => this.openReview(id),
    });
    this.histograms = {};
    for (const canvas of root.querySelectorAll("[data-measure]")) {
      const { measure } = canvas.dataset;
      this.histograms[measure] = new Histogram(canvas, (low, high) => this.setRange(measure, low, high));
    }
    this.wire();
    this.begin();
    // Shown for the first time or again: pairs may have come meanwhile.
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.refresh()).observe(root);
    new MutationObserver(() => this.redraw()).observe(document.documentElement, { attributeFilter: ["class"] });
    addEventListener("popstate", () => this.onAddress());
    addEventListener("m3po:tab", (event) => event.detail === "browse" && this.writeAddress());
  }

  $(id) {
    return this.root.querySelector("#" + id);
  }

  get isShown() {
    return this.root.isConnected && this.root.offsetParent !== null;
  }

  wire() {
    this.root.addEventListener("click", (event) => {
      const at = event.target.closest("button");
      if (!at) return;
      if (at.dataset.roleOf) this.setRole(at.dataset.roleOf);
      else if (at.dataset.tool) this.setTool(at.dataset.tool);
      else if (at.dataset.item) this.openReview(Number(at.dataset.item));
      else if (at.dataset.survived !== undefined) this.change({ survived: at.dataset.survived });
      else if (at.dataset.lift) this.lift(at.dataset.lift);
    });
    this.$("browse-clear").onclick = () => this.change({ ...defaultView(), order: this.view.order });
    this.$("browse-review").onclick = () => this.openReview(null);
    this.$("browse-previous").onclick = () => this.turn(-1);
    this.$("browse-next").onclick = () => this.turn(1);
    this.$("browse-test").onclick = () => this.startTest();
    this.setTool("lasso");
    this.press("roleOf", this.role);
  }

  // Where to begin: what the address says, else where this browser tab was.
  begin() {
    const { tab, view } = readAddress(location.hash);
    this.view = tab === "browse" && location.hash.includes("?") ? view : readAddress(recall(STORE, "browse")).view;
    if (this.view.area) this.setRole(this.view.area.role);
  }

  onAddress() {
    const { tab, view } = readAddress(location.hash);
    if (tab !== "browse" || writeAddress("browse", view, null) === writeAddress("browse", this.view, null)) return;
    this.view = view;
    if (view.area) this.setRole(view.area.role);
    this.refresh();
  }

  writeAddress() {
    keep(STORE, writeAddress("browse", this.view, null));
    if (readAddress(location.hash).tab === "browse") history.replaceState(null, "", `#${writeAddress("browse", this.view, null)}`);
  }

  change(view) {
    settleRun(Object.assign(this.view, view));
    this.first = 0;
    this.writeAddress();
    this.refresh();
  }

  setRange(measure, low, high) {
    const ranges = this.view.ranges.filter((range) => range.measure !== measure);
    if (low !== null || high !== null) ranges.push({ measure, low, high });
    this.change({ ranges });
  }

  lift(field) {
    const other = defaultView();
    this.change({ [field]: other[field] });
  }

  press(name, value) {
    const attribute = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const button of this.root.querySelectorAll(`[data-${attribute}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === value));
    }
  }

  setTool(tool) {
    this.plot.tool = tool;
    this.press("tool", tool);
  }

  setRole(role) {
    if (role === this.role) return;
    this.role = role;
    this.press("roleOf", role);
    if (this.view.area && this.view.area.role !== role) return this.change({ area: null });
    if (this.isShown) this.refresh();
  }

  turn(step) {
    this.first = Math.max(0, this.first + step * this.pageSize);
    this.fillGallery();
  }

  // Review with this view, at one of its items or at its beginning.
  openReview(item) {
    const address = writeAddress("review", this.view, item);
    location.hash = address.includes("?") ? address : `${address}?filter=all`; // a mere name keeps the view that is there
  }

  async ask(command) {
    try {
      const answer = (await this.server.browse(command)) || { error: "The server does not answer. Is the app running?" };
      this.$("browse-message").textContent = answer.error || "";
      return answer.error ? null : answer;
    } catch {
      this.$("browse-message").textContent = "The server does not answer. Is the app running?";
      return null;
    }
  }

  async refresh() {
    const asked = (this.root.dataset.asked = ++this.asked);
    const answer = await this.ask({ op: "look", view: this.view, role: this.role });
    if (!answer || asked !== this.asked) return;
    this.answer = answer;
    const none = !answer.total;
    this.$("browse-empty").hidden = !none;
    this.$("browse-body").hidden = none;
    this.root.querySelector(".browse-bar").hidden = none;
    if (none) return;
    this.$("browse-left").textContent = answer.left.toLocaleString("en-US");
    this.$("browse-total").textContent = answer.total.toLocaleString("en-US");
    this.$("browse-review").disabled = !answer.left;
    this.drawChips();
    this.redraw();
    this.root.dataset.left = answer.left;
    this.root.dataset.answered = asked;
    await this.fillGallery();
    this.fillTests();
  }

  redraw() {
    if (!this.answer || !this.answer.total) return;
    this.plot.show(this.answer.plot, this.answer.role, this.view.area);
    for (const [measure, histogram] of Object.entries(this.histograms)) {
      const range = this.view.ranges.find((each) => each.measure === measure) || null;
      histogram.show(this.answer.histograms[measure], range);
      const words = this.root.querySelector(`[data-range-of="${measure}"]`);
      words.textContent = range ? `${range.low ?? "…"} to ${range.high ?? "…"}` : "";
    }
  }

  drawChips() {
    const chips = [];
    const add = (field, words) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip";
      chip.dataset.lift = field;
      chip.title = "Take this away";
      chip.textContent = `${words} ×`;
      chips.push(chip);
    };
    if (this.view.filter !== "all") add("filter", this.view.filter.replace("_", " "));
    for (const [field, label] of Object.entries(LABELS)) if (this.view[field]) add(field, `${label}: ${this.view[field]}`);
    if (this.view.survived) add("survived", `survives ${TESTS[this.view.survived]}`);
    if (this.view.run) add("run", sayRun(this.view.run));
    if (this.view.outcome) add("outcome", OUTCOMES[this.view.outcome]);
    if (this.view.area) add("area", `area of the ${this.view.area.role}`);
    if (this.view.ranges.length) add("ranges", this.view.ranges.length === 1 ? "1 range" : `${this.view.ranges.length} ranges`);
    this.$("browse-chips").replaceChildren(...chips);
    this.$("browse-clear").hidden = chips.length < 2;
  }

  async fillGallery() {
    const { first, asked } = this;
    const answer = await this.ask({ op: "gallery", view: this.view, start: first });
    if (!answer || first !== this.first || asked !== this.asked) return;
    this.pageSize = answer.page;
    const gallery = this.$("browse-gallery");
    gallery.innerHTML = answer.html; // made by ui/markup.py, which escapes every text
    if (!answer.total) gallery.textContent = "No pair is left: take a filter away.";
    const last = Math.min(first + answer.page, answer.total);
    const write = (value) => value.toLocaleString("en-US");
    this.$("browse-page").textContent = answer.total ? `${write(first + 1)}–${write(last)} of ${write(answer.total)}` : "";
    this.$("browse-previous").disabled = first === 0;
    this.$("browse-next").disabled = last >= answer.total;
    this.root.dataset.gallery = answer.total;
  }

  async fillTests() {
    this.drawTests(await this.ask({ op: "tests", survived: this.view.survived }));
  }

  async startTest() {
    const limit = Number(this.$("browse-test-limit").value) || 0;
    this.$("browse-test").disabled = true;
    const answer = await this.ask({ op: "start", limit, survived: this.view.survived });
    if (!answer) this.$("browse-test").disabled = false;
    this.drawTests(answer);
  }

  drawTests(answer) {
    if (!answer) return;
    const box = this.$("browse-tests");
    box.innerHTML = answer.html; // made by ui/markup.py
    this.$("browse-test").disabled = Boolean(answer.active);
    this.$("browse-test").textContent = answer.active ? answer.message || "Testing…" : "Test image dependence";
    clearTimeout(this.timer);
    if (answer.active && this.root.isConnected) this.timer = setTimeout(() => this.isShown && this.fillTests(), POLL);
    else if (this.wasActive) this.refresh(); // cards and counts know of the test now
    this.wasActive = Boolean(answer.active);
  }
}
