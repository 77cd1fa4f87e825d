// What stands in the playground, as an address: #playground?left=before-8&right=run-8&q=What+is+it&item=demo/17&t=0
//
// A side is own, run-N, before-N, nobody, or other with its policy and adapter. `right=run-8` alone means what run 8
// began with on the left.

const SIDES = ["left", "right"];
const PLAIN = { question: "q", item: "item", image: "image", temperature: "t", tokens: "tokens", seed: "seed" };
const DEFAULT = { temperature: "0", tokens: "128", seed: "0" };
const MAX_QUESTION = 1500; // characters: an address has no room for more
const MODEL = /^(own|nobody|other|(run|before)-\d{1,15})$/;

export function writePlace(place) {
  const parts = new URLSearchParams();
  for (const [at, name] of SIDES.entries()) {
    const { model, policy, adapter } = place.sides[at];
    parts.set(name, model);
    if (policy) parts.set(`${name}_policy`, policy);
    if (adapter) parts.set(`${name}_adapter`, adapter);
  }
  for (const [field, key] of Object.entries(PLAIN)) {
    const value = place[field];
    if (value && value !== DEFAULT[field] && value.length <= MAX_QUESTION) parts.set(key, value);
  }
  return `playground?${parts}`;
}

// Null for an address of another tab, or of this one without a word of what stands in it.
export function readPlace(fragment) {
  const [tab, query] = fragment.replace(/^#/, "").split("?");
  if (tab !== "playground" || !query) return null;
  const parts = new URLSearchParams(query);
  const place = { sides: SIDES.map((name) => readSide(parts, name)) };
  if (!place.sides[0] && place.sides[1]?.model.startsWith("run-")) {
    place.sides[0] = { model: place.sides[1].model.replace("run", "before") };
  }
  for (const [field, key] of Object.entries(PLAIN)) place[field] = parts.get(key) ?? DEFAULT[field];
  return place;
}

function readSide(parts, name) {
  const model = parts.get(name) || "";
  if (!MODEL.test(model)) return null;
  return { model, policy: parts.get(`${name}_policy`) || "", adapter: parts.get(`${name}_adapter`) || "" };
}
