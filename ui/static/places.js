// The address of the page follows what is shown, and what is shown follows the address: links, reload, back button.
// Another view is a step of the browser's history, another item is not: back leads to the view from before.

import { readAddress, writeAddress } from "./address.js";
import { keep, recall } from "./memory.js";

const STORE = "m3po.place";
const SETTLE = 200; // ms; browsers refuse an address that changes with every repeat of a held key

export class Places {
  constructor(frame, deck) {
    Object.assign(this, { frame, deck });
    this.timer = null;
    this.written = null; // the view that the address names, without its item
    addEventListener("popstate", () => this.onAddress());
    addEventListener("m3po:tab", (event) => event.detail === "review" && setTimeout(() => this.write(false), 50));
  }

  // Where to begin: what the address says, else where this tab was before a reload.
  begin() {
    const { tab, view, item } = readAddress(location.hash);
    const [navigation] = performance.getEntriesByType("navigation");
    const stays = navigation && navigation.type === "reload" && location.hash === window.m3po.landedOn;
    const isReload = stays && recall(STORE, null); // newer than the address
    if (tab === "review" && location.hash.includes("?") && !isReload) return [view, item];
    const saved = readAddress(recall(STORE, "review"));
    return [saved.view, saved.item];
  }

  get isHere() {
    const tab = readAddress(location.hash).tab;
    return this.frame.isShown && (tab === "review" || tab === "");
  }

  onShow(item) {
    keep(STORE, writeAddress("review", this.deck.view, item && item.instruction_id));
    const view = writeAddress("review", this.deck.view, null);
    const isNew = this.written !== null && this.written !== view;
    clearTimeout(this.timer);
    if (isNew || this.written === null) this.write(isNew);
    else this.timer = setTimeout(() => this.write(false), SETTLE);
  }

  write(isNew) {
    if (!this.isHere) return;
    const { view, shownId } = this.deck;
    const address = `#${writeAddress("review", view, shownId)}`;
    this.written = writeAddress("review", view, null);
    if (address === location.hash) return;
    if (isNew) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  // Back, forward, or an address typed by hand.
  onAddress() {
    const { tab, view, item } = readAddress(location.hash);
    if (tab !== "review" || !location.hash.includes("?")) return;
    const there = writeAddress("review", view, null);
    const here = writeAddress("review", this.deck.view, null);
    if (there === here && (item === null || item === this.deck.shownId)) return;
    clearTimeout(this.timer);
    if (this.deck.setView(view, item)) this.written = there;
  }
}
