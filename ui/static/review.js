// The review page: what is clicked, typed and pressed becomes commands of the deck. Called by the Review tab's component.

import { patient } from "./asking.js";
import { Belief } from "./belief.js";
import { Candidates } from "./candidates.js";
import { Deck } from "./deck.js";
import { Editor } from "./edit.js";
import { Filters } from "./filters.js";
import { Frame } from "./frame.js";
import { Guideline } from "./guideline.js";
import { History } from "./history.js";
import { Images } from "./image.js";
import { hasModifier, isTyping, KeyMap } from "./keys.js";
import { KeySettings } from "./key_settings.js";
import { Places } from "./places.js";
import { Remarks } from "./remarks.js";
import { Rows } from "./rows.js";
import { Tags } from "./tags.js";
import { user } from "./who.js";

const SAYING = new Set(["reason", "note", "tags"]); // calls that are about an item

export function start(element, given) {
  const server = patient(given);
  const frame = new Frame(element);
  const candidates = new Candidates(frame);
  const editor = new Editor(frame, candidates, () => deck.by);
  const deck = new Deck(frame, candidates, editor, server);
  const images = new Images(frame);
  new Rows(frame);
  new Filters(frame, deck);
  const remarks = new Remarks(frame, deck);
  new Tags(deck, remarks, server);
  const guideline = new Guideline(frame, deck, server);
  const places = new Places(frame, deck);
  const history = new History(frame, deck, server);
  const keys = new KeyMap(user());
  deck.words = (template) => keys.fill(template);
  deck.onShow = (item, same) => {
    if (!same) images.onShow();
    remarks.show(item, same);
    guideline.onShow(item);
    places.onShow(item);
    history.refresh();
    keys.show(frame.root);
  };
  const belief = new Belief(frame, deck, server);
  const settings = new KeySettings(frame, keys);
  addEventListener("m3po:tab", (event) => event.detail === "review" && frame.root.isConnected && deck.reopen());
  wireDialogs(frame);
  const calls = {
    help: () => settings.toggleHelp(),
    zoom: () => images.toggle(),
    history: () => history.toggle(),
    belief: () => belief.next(),
    reason: () => remarks.toggle("reason"),
    note: () => remarks.toggle("note"),
    tags: () => remarks.toggle("tags"),
    guideline: () => guideline.toggle(),
  };
  wireClicks(frame, deck, candidates, calls);
  const onKey = wireKeys(frame, deck, candidates, keys, remarks, calls);
  deck.start(...places.begin());
  for (const event of window.m3po ? window.m3po.takeEarlyKeys() : []) onKey(event);
}

function wireDialogs(frame) {
  for (const dialog of frame.element.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || "close" in event.target.dataset) dialog.close();
    });
  }
}

function wireClicks(frame, deck, candidates, calls) {
  frame.root.addEventListener("mousedown", (event) => {
    // A clicked button must not keep the focus: Enter would press it again instead of accepting.
    if (event.target.closest("button")) event.preventDefault();
  });
  frame.root.addEventListener("click", (event) => {
    const make = event.target.closest("[data-make]");
    const card = event.target.closest("[data-candidate-id]");
    const action = event.target.closest("[data-op]");
    if (make) deck.push({ op: "mark", role: make.dataset.make, candidate_id: Number(card.dataset.candidateId) });
    else if (event.target.closest("[data-panel]")) calls[event.target.closest("[data-panel]").dataset.panel]();
    else if (action && action.dataset.gold) deck.push({ op: "gold", gold: action.dataset.gold === "true" });
    else if (action) deck.push({ op: action.dataset.op, ...(action.dataset.of && { of: Number(action.dataset.of) }) });
    else if (card && !event.target.closest("#review-edit-form") && !String(getSelection())) {
      candidates.select(Number(card.dataset.candidateId));
    }
  });
}

// `calls`: what the meanings of keys.js call by name. `remarks` takes digits while its list of reasons is open.
function wireKeys(frame, deck, candidates, keys, remarks, calls) {
  function onKey(event) {
    if (!frame.root.isConnected) return document.removeEventListener("keydown", onKey);
    if (!(event instanceof KeyboardEvent) || hasModifier(event) || event.defaultPrevented) return;
    if (!frame.isShown || isTyping(event.target) || isTyping(document.activeElement)) return;
    const meaning = keys.read(event);
    const dialog = document.querySelector("dialog[open]");
    if (meaning && meaning.call === "help" && (!dialog || dialog.id === "review-help")) {
      event.preventDefault();
      return calls.help();
    }
    if (dialog) return;
    if (deck.willEdit) return event.preventDefault();
    if (remarks.takeKey(event, meaning) || !meaning) return;
    event.preventDefault();
    if (event.repeat && !meaning.repeats) return; // a held key decides once
    if (SAYING.has(meaning.call) && !deck.item) frame.say("Nothing is shown yet: press it again when the item is there.", "hint");
    else if (meaning.call) calls[meaning.call]();
    else if (meaning.select) candidates.selectNeighbour(meaning.select);
    else if (!meaning.markSelected) deck.push(meaning, event.timeStamp);
    else if (candidates.selected === null) frame.say("Select a candidate first, by key or a click.", "hint");
    else deck.push({ op: "mark", role: meaning.markSelected, candidate_id: candidates.selected });
  }
  document.addEventListener("keydown", onKey);
  return onKey;
}
