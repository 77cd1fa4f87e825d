// Asking the server: with an end to the patience, under a name of one's own, and as whom.

const PATIENCE = 20_000; // ms for an answer

// What was promised; nothing where that takes too long, as it does for ever through a broken tunnel.
export async function inTime(promised) {
  let timer = null;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, PATIENCE)));
  try {
    return await Promise.race([promised, late]);
  } finally {
    clearTimeout(timer);
  }
}

// crypto.randomUUID is missing on a page that came over plain http from another machine.
export function makeId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Who is logged in: a name, "" where nobody is logged in, null where the server does not answer.
export async function askWho() {
  try {
    const answer = await inTime(fetch("m3po/me", { cache: "no-store" }));
    return answer && answer.ok ? (await answer.json()).user : null;
  } catch {
    return null;
  }
}
