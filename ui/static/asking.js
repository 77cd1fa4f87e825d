// Asking the server: with an end to the patience, under a name of one's own, and as whom.

const PATIENCE = 20_000; // ms for an answer

export const LONG = 120_000; // for what goes through a whole workspace: on a million its first answer takes half a minute

// The functions of the server, each with an end to the patience: it answers nothing then, as Gradio does where a request
// failed. Under `unhurried` they are as they were.
export function patient(server, patience = PATIENCE) {
  const hurried = Object.entries(server).map(([name, call]) => [name, (asked) => inTime(call(asked), patience)]);
  return { ...Object.fromEntries(hurried), unhurried: server };
}

// What was promised; nothing where that takes too long, as it does for ever through a broken tunnel.
async function inTime(promised, patience) {
  let timer = null;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, patience)));
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
    const answer = await inTime(fetch("m3po/me", { cache: "no-store" }), PATIENCE);
    return answer && answer.ok ? (await answer.json()).user : null;
  } catch {
    return null;
  }
}
