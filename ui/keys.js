// The review page in the browser: keys and clicks become commands, answers are drawn.
// Runs as the body of js_on_load(element, trigger, props, server, upload, watch).
// Commands wait in line and are applied in order. A deciding key belongs to the item that was drawn when it was pressed:
// when another one is there at its turn, it is dropped and said so. An error empties the line. Nothing is decided unseen.

const $ = (id) => element.querySelector("#" + id);
const root = $("review-root");
const STORE = "m3po.review";
const DECIDING = new Set(["accept", "skip", "tie", "all_wrong", "flag", "mark", "swap", "edit"]);
const LETTERS = { x: "swap", s: "skip", t: "tie", n: "all_wrong", f: "flag", e: "edit", u: "undo" };

let item = null; // what is drawn: ids, pair, pending side
let selected = null; // candidate id under the arrow keys
let line = []; // commands that wait
let busy = false;
let drawnAt = performance.now();
let touched = false; // has the annotator done anything yet? Until then a better first item may take the place
let pollTimer = null;
let saved = {};
try {
  saved = JSON.parse(sessionStorage.getItem(STORE)) || {};
} catch {
  saved = {};
}
let drafts = saved.drafts || {}; // edits that a reload interrupted, by instruction
const view = { filter: saved.filter || "all", order: saved.order || "m3p_score" };
$("review-filter").value = view.filter;
$("review-order").value = view.order;
if (!$("review-filter").value) $("review-filter").value = view.filter = "all";
if (!$("review-order").value) $("review-order").value = view.order = "m3p_score";

function remember() {
  const state = { ...view, instruction_id: item && item.instruction_id, drafts };
  sessionStorage.setItem(STORE, JSON.stringify(state));
}

function onPage() {
  return root.isConnected && root.offsetParent !== null;
}

function push(command) {
  if ($("review-edit-form") && !(command.op === "edit" && command.text !== undefined)) {
    return say("Save the edit or leave it first (Ctrl+Enter, Esc).", "hint");
  }
  line.push({ ...command, pressed: performance.now(), on: item ? item.instruction_id : null });
  touched = true;
  run();
}

async function run() {
  if (busy) return;
  busy = true;
  try {
    while (line.length) {
      const command = line.shift();
      if ((command.choose || DECIDING.has(command.op)) && command.on !== (item ? item.instruction_id : null)) {
        say("A key was pressed before this item was drawn and was not used: press it again.", "hint");
        continue;
      }
      if (command.op === "edit" && command.text === undefined) {
        openEdit();
        continue;
      }
      if (command.choose) {
        const card = element.querySelector(`[data-number="${command.choose}"]`);
        if (!card) {
          say(`There is no candidate ${command.choose} here.`, "hint");
          continue;
        }
        command.op = "mark";
        command.candidate_id = Number(card.dataset.candidateId);
      }
      if (command.op === "undo" && item && Object.keys(item.pending).length) {
        command.op = "show";
        item.pending = {};
      }
      if (!item && DECIDING.has(command.op)) continue;
      const answer = await send(command);
      if (answer.error) {
        line = [];
        if (answer.parts) draw(answer, { quiet: true }); // somebody else changed it: show what stands now
        say(answer.error, answer.level);
        if (command.op === "edit" && command.text) openEdit(command.text);
        continue;
      }
      draw(answer, command);
    }
  } finally {
    busy = false;
    schedulePoll();
  }
}

async function send(command) {
  const { pressed, choose, on, ...rest } = command;
  const body = {
    instruction_id: item ? item.instruction_id : null,
    selection_id: item ? item.selection_id : null,
    chosen: item ? item.chosen : null,
    rejected: item ? item.rejected : null,
    pending: item ? item.pending : {},
    decision_id: item ? item.decision_id : null,
    seconds: Math.round(performance.now() - drawnAt) / 1000,
    view,
    ...rest,
  };
  root.dataset.busy = command.op;
  const silent = {
    error: "The server does not answer: this may not have been stored. Is the app still running? Then try again.",
    level: "error",
  };
  try {
    return (await server.review(body)) || silent; // Gradio answers a failed request with nothing
  } catch {
    return silent;
  } finally {
    delete root.dataset.busy;
  }
}

function draw(answer, command) {
  const same = item && answer.item && item.instruction_id === answer.item.instruction_id;
  item = answer.item;
  if (answer.filter) $("review-filter").value = view.filter = answer.filter; // the server began in one's own queue
  if (!same) {
    selected = null;
    drawnAt = performance.now();
  }
  $("review-body").hidden = !item;
  $("review-empty").hidden = Boolean(item);
  if (item) {
    for (const [id, html] of Object.entries(answer.parts)) setPart(id, html, same);
  } else {
    drawEmpty(answer.empty);
    $("review-position").textContent = "";
  }
  if (!same) $("review-candidates").scrollTop = 0;
  if (command && command.quiet && !answer.message) {
    // a refresh leaves what was said before
  } else {
    say(answer.message || "", "hint");
  }
  if (!same && item && drafts[item.instruction_id]) say("Your unsaved edit is kept: press E to go on with it.", "hint");
  if (selected !== null) select(selected);
  for (const button of element.querySelectorAll(".review-actions button")) button.disabled = !item && button.dataset.op !== "undo";
  root.dataset.item = item ? item.instruction_id : "";
  if (command && command.pressed) {
    const pressed = command.pressed;
    requestAnimationFrame(() => {
      root.dataset.latency = Math.round(performance.now() - pressed);
      root.dataset.draws = Number(root.dataset.draws || 0) + 1;
    });
  }
  remember();
  if (item && !same) setTimeout(prefetch, 30);
}

const drawn = {};
function setPart(id, html, same) {
  if (drawn[id] === html && $(id).childNodes.length) return;
  if (id === "review-candidates" && same && $("review-edit-form")) return; // someone is writing there
  drawn[id] = html;
  $(id).innerHTML = html; // made by ui/markup.py, which escapes every text
}

function drawEmpty(empty) {
  const box = $("review-empty");
  box.replaceChildren();
  if (!empty) return;
  const title = document.createElement("h2");
  title.textContent = empty.title;
  const text = document.createElement("p");
  text.textContent = empty.text;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "action action-main";
  button.textContent = { train: "Go to Fine-tune", data: "Go to Data", all: "Show all" }[empty.action];
  button.onclick = () => {
    if (empty.action === "all") setView("all", view.order);
    else window.m3po && window.m3po.openTab(empty.action);
  };
  box.append(title, text, button);
  box.dataset.waiting = empty.waiting ? "1" : "";
}

let sayTimer = null;
function say(text, level) {
  const box = $("review-message");
  clearTimeout(sayTimer);
  box.textContent = text;
  box.className = level === "error" ? "message-error" : "message-hint";
  box.setAttribute("role", level === "error" ? "alert" : "status");
  box.hidden = !text;
  if (text && level !== "error") sayTimer = setTimeout(() => (box.hidden = true), 4000);
}

// Neighbours' images are fetched while the annotator looks at this one.
const fetched = new Set();
async function prefetch() {
  if (busy || !item) return;
  try {
    const answer = await server.review({ op: "peek", instruction_id: item.instruction_id, view });
    for (const url of (answer && answer.images) || []) {
      if (fetched.has(url)) continue;
      fetched.add(url);
      new Image().src = url;
    }
  } catch {
    // the next command will say it
  }
}

// Ask again by itself while nothing is ready yet, or while an edit is being scored.
function schedulePoll() {
  clearTimeout(pollTimer);
  const wait = !item || item.waiting ? 2000 : item.scoring ? 1200 : 0;
  if (!wait) return;
  pollTimer = setTimeout(() => {
    if (!root.isConnected) return;
    if (onPage() && !busy && !$("review-edit-form")) {
      line.push(touched ? { op: "show", quiet: true } : { op: "open", quiet: true, instruction_id: null });
      run();
    } else schedulePoll();
  }, wait);
}

// Candidates: select, open, make chosen or rejected

function cards() {
  return [...element.querySelectorAll("[data-candidate-id]")];
}

function select(id) {
  let found = null;
  for (const card of cards()) {
    const on = Number(card.dataset.candidateId) === id;
    card.classList.toggle("selected", on);
    card.setAttribute("aria-current", on ? "true" : "false");
    if (on) found = card;
  }
  selected = found ? id : null;
  if (found) found.scrollIntoView({ block: "nearest" });
  for (const point of element.querySelectorAll("[data-point]")) {
    point.classList.toggle("selected", Number(point.dataset.point) === selected);
  }
}

function selectNeighbour(step) {
  const all = cards();
  if (!all.length) return;
  const at = all.findIndex((card) => Number(card.dataset.candidateId) === selected);
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + step));
  select(Number(all[next].dataset.candidateId));
}

function markSelected(role) {
  if (selected === null) return say("Select a candidate first: arrow keys or a click.", "hint");
  push({ op: "mark", role, candidate_id: selected });
}

// View

function setView(filter, order) {
  if ($("review-edit-form")) return say("Save the edit or leave it first (Ctrl+Enter, Esc).", "hint");
  view.filter = filter;
  view.order = order;
  $("review-filter").value = filter;
  $("review-order").value = order;
  push({ op: "show", instruction_id: null });
}

for (const id of ["review-filter", "review-order"]) {
  $(id).addEventListener("change", (event) => {
    event.target.blur();
    setView($("review-filter").value, $("review-order").value);
  });
}
$("review-jump").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    push({ op: "jump", text: event.target.value });
    event.target.value = "";
    event.target.blur();
  } else if (event.key === "Escape") event.target.blur();
});

function toggleHelp() {
  const help = $("review-help");
  if (help.open) help.close();
  else help.showModal();
}
$("review-help-open").addEventListener("click", toggleHelp);
for (const dialog of element.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.dataset.close || dialog.id === "review-zoom") dialog.close();
  });
}

// Clicks

root.addEventListener("mousedown", (event) => {
  // A clicked button must not keep the focus: Enter would press it again instead of accepting.
  if (event.target.closest("button")) event.preventDefault();
});
root.addEventListener("click", (event) => {
  const make = event.target.closest("[data-make]");
  const card = event.target.closest("[data-candidate-id]");
  const zoom = event.target.closest("[data-full]");
  const action = event.target.closest("[data-op]");
  if (make) push({ op: "mark", role: make.dataset.make, candidate_id: Number(card.dataset.candidateId) });
  else if (zoom) {
    $("review-zoom").querySelector("img").src = zoom.dataset.full;
    $("review-zoom").showModal();
  } else if (action) push({ op: action.dataset.op });
  else if (card && !event.target.closest("#review-edit-form") && !String(getSelection())) {
    select(Number(card.dataset.candidateId));
  }
});

// Keys

function isTyping(target) {
  if (!(target instanceof Element)) return false;
  const field = target.closest("input, textarea, select, [contenteditable]");
  return Boolean(field) && field.getAttribute("contenteditable") !== "false";
}

function onKey(event) {
  if (!root.isConnected) return document.removeEventListener("keydown", onKey);
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  if (!onPage() || isTyping(event.target) || isTyping(document.activeElement)) return;
  if (event.key === "?") {
    event.preventDefault();
    return toggleHelp();
  }
  if (document.querySelector("dialog[open]")) return;
  if (line.some((c) => c.op === "edit" && c.text === undefined)) return event.preventDefault(); // the editor opens next
  const command = read(event);
  if (!command) return;
  event.preventDefault();
  if (event.repeat && command.op !== "next" && command.op !== "previous" && !command.local) return; // a held key decides once
  if (command.local) command.local();
  else push(command);
}

function read(event) {
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code || "");
  if (digit && event.code.startsWith("Digit")) return { choose: digit[1], role: event.shiftKey ? "rejected" : "chosen" };
  if (digit && /^[1-9]$/.test(event.key)) return { choose: digit[1], role: "chosen" };
  if (event.shiftKey) return null;
  if (event.key === "Enter" || event.key === " ") {
    // A focused button or link keeps its own key; a focused candidate does not swallow Enter.
    const control = event.target.closest && event.target.closest("button, a, summary, [role=tab]");
    if (control && control.getAttribute("aria-selected") !== "true") return null;
    return event.key === "Enter" ? { op: "accept" } : null;
  }
  if (event.key === "ArrowRight") return { op: "next" };
  if (event.key === "ArrowLeft") return { op: "previous" };
  if (event.key === "ArrowDown") return { local: () => selectNeighbour(1) };
  if (event.key === "ArrowUp") return { local: () => selectNeighbour(-1) };
  const letter = event.key.toLowerCase();
  if (letter === "c") return { local: () => markSelected("chosen") };
  if (letter === "r") return { local: () => markSelected("rejected") };
  return LETTERS[letter] ? { op: LETTERS[letter] } : null;
}

document.addEventListener("keydown", onKey);
push(saved.instruction_id ? { op: "show", instruction_id: saved.instruction_id } : { op: "open", instruction_id: null });
touched = Boolean(saved.instruction_id);
