// The review page: what is clicked, typed and pressed becomes commands of the deck. Called by the Review tab's component.

import { Belief } from "./belief.js";
import { Candidates } from "./candidates.js";
import { Deck } from "./deck.js";
import { Editor } from "./edit.js";
import { Filters } from "./filters.js";
import { Frame } from "./frame.js";
import { Images } from "./image.js";
import { isTyping, readKey } from "./keys.js";
import { Places } from "./places.js";

export function start(element, server) {
  const frame = new Frame(element);
  const candidates = new Candidates(frame);
  const editor = new Editor(frame, candidates);
  const deck = new Deck(frame, candidates, editor, server);
  const images = new Images(frame);
  new Filters(frame, deck);
  const places = new Places(frame, deck);
  deck.onShow = (item, same) => {
    if (!same) images.onShow();
    places.onShow(item);
  };
  new Belief(frame, deck, server);
  addEventListener("m3po:tab", (event) => event.detail === "review" && frame.root.isConnected && deck.reopen());
  wireDialogs(frame);
  wireClicks(frame, deck, candidates);
  wireKeys(frame, deck, candidates, images);
  deck.start(...places.begin());
}

function toggleHelp(frame) {
  const help = frame.$("review-help");
  if (help.open) help.close();
  else help.showModal();
}

function wireDialogs(frame) {
  frame.$("review-help-open").addEventListener("click", () => toggleHelp(frame));
  for (const dialog of frame.element.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.dataset.close) dialog.close();
    });
  }
}

function wireClicks(frame, deck, candidates) {
  frame.root.addEventListener("mousedown", (event) => {
    // A clicked button must not keep the focus: Enter would press it again instead of accepting.
    if (event.target.closest("button")) event.preventDefault();
  });
  frame.root.addEventListener("click", (event) => {
    const make = event.target.closest("[data-make]");
    const card = event.target.closest("[data-candidate-id]");
    const action = event.target.closest("[data-op]");
    if (make) deck.push({ op: "mark", role: make.dataset.make, candidate_id: Number(card.dataset.candidateId) });
    else if (action && action.dataset.gold) deck.push({ op: "gold", gold: action.dataset.gold === "true" });
    else if (action) deck.push({ op: action.dataset.op });
    else if (card && !event.target.closest("#review-edit-form") && !String(getSelection())) {
      candidates.select(Number(card.dataset.candidateId));
    }
  });
}

function wireKeys(frame, deck, candidates, images) {
  function onKey(event) {
    if (!frame.root.isConnected) return document.removeEventListener("keydown", onKey);
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
    if (!frame.isShown || isTyping(event.target) || isTyping(document.activeElement)) return;
    const meaning = readKey(event);
    if (meaning && meaning.help) {
      event.preventDefault();
      return toggleHelp(frame);
    }
    if (document.querySelector("dialog[open]")) return;
    if (deck.willEdit) return event.preventDefault();
    if (!meaning) return;
    event.preventDefault();
    if (event.repeat && !meaning.repeats) return; // a held key decides once
    if (meaning.zoom) images.toggle();
    else if (meaning.select) candidates.selectNeighbour(meaning.select);
    else if (!meaning.markSelected) deck.push(meaning, event.timeStamp);
    else if (candidates.selected === null) frame.say("Select a candidate first: arrow keys or a click.", "hint");
    else deck.push({ op: "mark", role: meaning.markSelected, candidate_id: candidates.selected });
  }
  document.addEventListener("keydown", onKey);
}
