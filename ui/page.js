// Page-wide: light or dark before the first paint, the open tab in the address, tooltips, focus that a mouse leaves.
(() => {
  const THEME = "m3po.theme"; // "light", "dark", or absent: as the system
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem(THEME);
  } catch {
    // a browser that forbids storage: what is chosen lasts as long as the page
  }
  const isDark = () => (chosen ? chosen === "dark" : system.matches);
  function applyTheme() {
    const dark = isDark();
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    document.documentElement.classList.toggle("m3-dark", dark);
    if (document.body && document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  }
  applyTheme();
  system.addEventListener("change", applyTheme);
  addEventListener("DOMContentLoaded", () => {
    applyTheme();
    // Gradio sets its own idea of the theme when it mounts: ours stands.
    new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  });

  const NAMES = {
    data: "Data", browse: "Browse", review: "Review", calibrate: "Calibrate", people: "People", train: "Fine-tune",
    results: "Results", playground: "Playground",
  };
  const tabButton = (name) =>
    [...document.querySelectorAll('#tabs [role="tab"]')].find((tab) => tab.textContent.trim() === NAMES[name]);
  // Gradio lays a tab out when it is opened. No focus: the next Enter may be meant for the review.
  function show(id, until) {
    const at = document.getElementById(id);
    if (at && at.offsetParent) {
      at.scrollIntoView({ block: "center" });
      at.animate([{ outline: "3px solid var(--m3-accent)" }, { outline: "3px solid transparent" }], 2500);
    } else if (performance.now() < until) requestAnimationFrame(() => show(id, until));
  }
  // The Results tab shows another run at a click on it, once it has drawn it.
  function pickRun(run, until) {
    const button = document.querySelector(`#results-overview [data-show-run="${run}"]`);
    if (button && button.offsetParent) button.click();
    else if (performance.now() < until) requestAnimationFrame(() => pickRun(run, until));
  }
  const tabOf = (fragment) => fragment.slice(1).split("?")[0]; // a view may follow
  // Keys that somebody pressed while the page still came: Review uses them or says that it did not.
  let early = [];
  const keepKey = (event) => !(event.target instanceof Element && event.target.closest("input, textarea, select")) && early.push(event);
  document.addEventListener("keydown", keepKey);
  window.m3po = {
    landedOn: location.hash, // a tab may be laid out much later, when the address names another place
    takeEarlyKeys() {
      document.removeEventListener("keydown", keepKey);
      return early.splice(0);
    },
    openTab(name) {
      const button = tabButton(name);
      if (button && getComputedStyle(button).display !== "none") button.click(); // not every role has every tab
    },
    toggleTheme() {
      chosen = isDark() ? "light" : "dark";
      applyTheme();
      try {
        localStorage.setItem(THEME, chosen);
      } catch {
        // not kept
      }
    },
  };
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#theme-toggle")) window.m3po.toggleTheme();
    const open = event.target.closest("[data-open-tab]");
    if (open) window.m3po.openTab(open.dataset.openTab);
    if (open && open.dataset.show) show(open.dataset.show, performance.now() + 3000);
    if (open && open.dataset.openRun) pickRun(Number(open.dataset.openRun), performance.now() + 6000);
    const tab = event.target.closest('#tabs [role="tab"]');
    if (tab) {
      early = []; // they were meant for another tab
      const name = Object.keys(NAMES).find((key) => NAMES[key] === tab.textContent.trim());
      if (name && name !== tabOf(location.hash)) history.pushState(null, "", `#${name}`);
      dispatchEvent(new CustomEvent("m3po:tab", { detail: name }));
    }
    // A button clicked with the mouse would keep the focus and swallow the next Enter.
    if (event.detail > 0 && (tab || event.target.closest("#theme-toggle"))) event.target.closest("button").blur();
  });
  // Who is logged in, as soon as Gradio has drawn the head and m3po/me.js has come: neither says when.
  const waiting = new MutationObserver(drawWho);
  waiting.observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["data-user"] });
  function drawWho() {
    const { user, login } = document.documentElement.dataset;
    const who = document.getElementById("who");
    if (!who || user === undefined) return;
    waiting.disconnect();
    if (!login || !user) return;
    const leave = document.createElement("a");
    Object.assign(leave, { href: "m3po/logout", textContent: "Log out" });
    who.append(user, leave);
  }
  // The forms' fields say what they mean: Gradio draws them without a tooltip.
  function hint(event) {
    const { folder } = document.documentElement.dataset; // of curators: see ui/server.py
    if (folder && event.target instanceof Element && event.target.matches(".workspace-name")) event.target.title = folder;
    for (let at = event.target; at instanceof Element; at = at.parentElement) {
      const text = at.id && window.m3poHints[at.id];
      if (!text) continue;
      const field = at.querySelector("input, textarea");
      const isCut = field && field.scrollWidth > field.clientWidth; // the end of a path tells models apart
      at.title = isCut ? `${field.value}\n\n${text}` : text;
      field?.setAttribute("aria-description", text);
      return;
    }
  }
  document.addEventListener("pointerover", hint);
  document.addEventListener("focusin", hint);
  // A click on the tab that is open already would change nothing but the address.
  addEventListener("hashchange", () => {
    const open = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
    const name = tabOf(location.hash);
    if (NAMES[name] && !(open && open.textContent.trim() === NAMES[name])) window.m3po.openTab(name);
  });
})();
