// A view of the review and its address, so that it can be shared and opened again: ui/addresses.py does the same.
//
// #review?filter=unreviewed&q=cat&in=answers&m3p_score=0.5..&item=123 names the tab, then what differs from the default.

export const FILTERS = ["all", "unreviewed", "reviewed", "flagged", "no_pair", "audit", "mine", "disagreements"];
export const ORDERS = ["m3p_score", "logp_margin", "mas_gap", "reward_margin", "id"];
export const PLACES = ["instructions", "answers"];
export const MEASURES = ["m3p_score", "logp_margin", "mas_gap", "length_ratio"];
// A signal again with another image: which preferences survive it.
export const TESTS = {
  mas_swap: "MAS, image swapped", mas_blank: "MAS, image blanked", logp_swap: "log-prob, image swapped",
  logp_blank: "log-prob, image blanked",
};
// What a run made of the pair that it had of an item.
export const OUTCOMES = {
  learned: "learned", unlearned: "unlearned", flipped: "flipped: learned or unlearned", kept: "kept",
  still_wrong: "still wrong",
};
export const DEFAULT = {
  filter: "all", order: "m3p_score", search: "", search_in: "instructions", source: "", ranges: [], area: null, tag: "",
  reason: "", annotator: "", survived: "", run: "", outcome: "",
};
const WORDS = {
  filter: ["filter", FILTERS], order: ["order", ORDERS], search_in: ["in", PLACES],
  survived: ["survived", ["", ...Object.keys(TESTS)]], outcome: ["outcome", ["", ...Object.keys(OUTCOMES)]],
};
const TEXTS = { search: "q", source: "source", tag: "tag", reason: "reason", annotator: "by", run: "run" };
const MAX_TEXT = 1000;

export function defaultView() {
  return { ...DEFAULT, ranges: [] };
}

// An outcome and a reward margin are of a run: without one there is neither.
export function settleRun(view) {
  if (view.run) return view;
  view.outcome = "";
  if (view.order === "reward_margin") view.order = DEFAULT.order;
  return view;
}

// A run's pairs in words: `5`, `5-3` (of items that run 3 had none of), `5~3` (of those that it had another one of).
export function sayRun(run) {
  const [, one, sign, other] = run.match(/^(\d+)(?:([-~])(\d+))?$/) || [null, run];
  if (!sign) return `Pairs of run ${one}`;
  return sign === "-" ? `Pairs of run ${one}, not in run ${other}` : `Pairs of run ${one}, another in run ${other}`;
}

// The fragment without its #.
export function writeAddress(tab, view, item) {
  const parts = [];
  for (const [field, [key]] of Object.entries(WORDS)) {
    if (view[field] !== DEFAULT[field]) parts.push([key, view[field]]);
  }
  for (const [field, key] of Object.entries(TEXTS)) if (view[field]) parts.push([key, view[field]]);
  for (const { measure, low, high } of view.ranges) parts.push([measure, `${low ?? ""}..${high ?? ""}`]);
  if (view.area) parts.push(["area", `${view.area.role}:${view.area.corners.map((corner) => corner.join(",")).join(";")}`]);
  if (item !== null && item !== undefined) parts.push(["item", String(item)]);
  const query = parts.map(([key, value]) => `${key}=${escapeValue(value)}`).join("&");
  return query ? `${tab}?${query}` : tab;
}

// {tab, view, item} of a fragment. What it says that does not exist is left out: somebody may have typed it.
export function readAddress(fragment) {
  const text = fragment.replace(/^#/, "");
  const at = text.indexOf("?");
  const found = {};
  for (const part of at < 0 ? [] : text.slice(at + 1).split("&")) {
    const is = part.indexOf("=");
    if (is > 0) found[part.slice(0, is)] = unescapeValue(part.slice(is + 1));
  }
  const view = defaultView();
  for (const [field, [key, words]] of Object.entries(WORDS)) if (words.includes(found[key])) view[field] = found[key];
  for (const [field, key] of Object.entries(TEXTS)) view[field] = (found[key] || "").slice(0, MAX_TEXT).trim();
  for (const measure of MEASURES) {
    const [low, high] = (found[measure] || "").split("..").map(readNumber);
    if (high !== undefined && (low !== null || high !== null)) view.ranges.push({ measure, low, high });
  }
  settleRun(view);
  view.area = readArea(found.area || "");
  const item = /^\d{1,17}$/.test(found.item || "") ? Number(found.item) : null;
  return { tab: at < 0 ? text : text.slice(0, at), view, item };
}

function readArea(text) {
  const [role, corners] = text.split(":");
  if ((role !== "chosen" && role !== "rejected") || !corners) return null;
  const points = corners.split(";").map((corner) => corner.split(",").map(readNumber));
  const right = points.length >= 3 && points.every((point) => point.length === 2 && !point.includes(null));
  return right ? { role, corners: points } : null;
}

export function readNumber(text) {
  const value = String(text).trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function escapeValue(value) {
  return encodeURIComponent(value).replace(/%(2C|3A|3B)/g, decodeURIComponent);
}

function unescapeValue(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return ""; // a broken %-escape
  }
}
