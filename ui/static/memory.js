// What a reload keeps, in this browser tab alone; and, with `Always`, what the browser keeps for all its tabs.
// A browser that forbids storage keeps nothing, and says nothing.

// The name of what is kept about the items of a workspace, by its frame's data. `made` tells it from an earlier one in the
// same folder, whose ids meant other items.
export const storeOf = (kind, { workspace, made }) => `m3po.${kind}.${workspace}.${made}`;

export const recall = (key, otherwise) => read(() => sessionStorage, key, otherwise);
export const keep = (key, value) => write(() => sessionStorage, key, value);
export const forget = (key) => remove(() => sessionStorage, key);
export const recallAlways = (key, otherwise) => read(() => localStorage, key, otherwise);
export const keepAlways = (key, value) => write(() => localStorage, key, value);
export const forgetAlways = (key) => remove(() => localStorage, key);

// The keys that begin so.
export function keptAlways(prefix) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
  } catch {
    return [];
  }
}

function read(storage, key, otherwise) {
  try {
    return JSON.parse(storage().getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// False when it could not be kept.
function write(storage, key, value) {
  try {
    storage().setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

function remove(storage, key) {
  try {
    storage().removeItem(key);
  } catch {
    // nothing was kept
  }
}
