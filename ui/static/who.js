// Whose page it is. m3po/me.js writes it into the document, and comes when it comes: what is kept in the browser under
// somebody's name is looked for once that name is known, never under none.

const PATIENCE = 20_000; // ms

export const user = () => document.documentElement.dataset.user || ""; // "" where nobody logs in

export const known = new Promise((resolve, reject) => {
  const here = () => document.documentElement.dataset.user !== undefined;
  if (here()) return resolve();
  const waiting = new MutationObserver(() => {
    if (!here()) return;
    waiting.disconnect();
    resolve();
  });
  waiting.observe(document.documentElement, { attributes: true, attributeFilter: ["data-user"] });
  setTimeout(() => reject(new Error("m3po/me.js has not come")), PATIENCE);
});
