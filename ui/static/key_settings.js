// Two dialogs about the keys: the list of what each does (?), and the panel where they are changed.

import { ACTIONS, hasModifier, keyOf, whyNot } from "./keys.js";

export class KeySettings {
  constructor(frame, keys) {
    Object.assign(this, { frame, keys });
    this.help = frame.$("review-help");
    this.panel = frame.$("review-keys");
    this.list = frame.$("review-keys-list");
    this.waiting = null; // the action whose key is to be pressed
    this.offered = null; // the key that was pressed for it and is another one's: pressed again, they are exchanged
    keys.onChange = () => this.draw();
    frame.$("review-help-open").addEventListener("click", () => this.toggleHelp());
    frame.$("review-keys-open").addEventListener("click", () => {
      this.help.close();
      this.say("");
      this.panel.showModal();
    });
    frame.$("review-keys-reset").addEventListener("click", () => {
      this.wait(null);
      keys.reset();
      this.say("All keys are as they were at first.");
    });
    this.list.addEventListener("click", (event) => {
      const { bind, reset } = event.target.dataset;
      if (bind) this.wait(bind);
      else if (reset) this.set(reset, ACTIONS.get(reset).key);
    });
    this.panel.addEventListener("close", () => this.wait(null));
    this.panel.addEventListener("cancel", (event) => this.waiting && event.preventDefault());
    document.addEventListener("keydown", (event) => this.waiting && this.panel.open && this.onKey(event), true);
    this.draw();
  }

  toggleHelp() {
    if (this.help.open) this.help.close();
    else this.help.showModal();
  }

  draw() {
    const { keys } = this;
    keys.show(this.frame.root);
    const [accept, ...others] = [...ACTIONS].filter(([, { words }]) => words)
      .map(([action, { words }]) => [keys.label(keys.bound[action]), words]);
    const digits = keys.candidates();
    const rows = [accept, [digits, "make that candidate chosen"], [`Shift+${digits}`, "make that candidate rejected"], ...others];
    const drawn = [...rows, ["?", "show or hide these keys"]]
      .flatMap(([key, words]) => [element("dt", element("kbd", key)), element("dd", words)]);
    this.help.querySelector("dl").replaceChildren(...drawn);
    this.list.replaceChildren(...[...ACTIONS].map(([action, about]) => this.drawRow(action, about)));
  }

  drawRow(action, { key, name, words }) {
    const { keys, waiting } = this;
    const row = element("div", element("span", name));
    row.title = words;
    const own = keys.bound[action] !== key;
    const bind = element("button", waiting === action ? "press a key …" : keys.label(keys.bound[action]));
    bind.dataset.bind = action;
    bind.className = waiting === action ? "action waiting" : own ? "action own" : "action";
    bind.setAttribute("aria-label", `${name}: ${bind.textContent}; change it`);
    row.append(bind);
    if (own) {
      const reset = element("button", "reset");
      reset.dataset.reset = action;
      reset.className = "link";
      reset.setAttribute("aria-label", `${name}: back to ${keys.label(key)}`);
      row.append(reset);
    }
    return row;
  }

  wait(action) {
    this.waiting = action;
    this.offered = null;
    if (action) this.say(`Press the key for ${ACTIONS.get(action).name}; Esc leaves it as it is.`);
    this.draw();
    if (action) this.list.querySelector(`[data-bind="${action}"]`).focus();
  }

  onKey(event) {
    if (["Shift", "Control", "Alt", "Meta", "AltGraph"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return;
    if (event.key === "Escape") {
      this.wait(null);
      return this.say("");
    }
    if (hasModifier(event)) return this.say("Keys with Ctrl, Alt or Meta stay the browser's: take one without.");
    if (event.key === "?") return this.say("? shows the keys: take another one.");
    this.keys.learn(event);
    this.set(this.waiting, keyOf(event));
  }

  // What stands in the way is named in a sentence; two actions may exchange their keys.
  set(action, key) {
    const { keys } = this;
    const why = whyNot(action, key);
    if (why) return this.say(why);
    const before = keys.bound[action];
    const others = keys.holders(action, key);
    const label = keys.label(key);
    if (others.length) {
      const names = others.map((other) => ACTIONS.get(other).name).join(" and ");
      const can = others.length === 1 && before && this.waiting && !whyNot(others[0], before)
        && !this.blocked(others[0], before, action);
      if (!can) return this.say(`${label} is the key of ${names}: give that another key first.`);
      if (this.offered !== key) {
        this.offered = key;
        return this.say(`${label} is the key of ${names}: press it again to exchange the two, or press another key.`);
      }
      keys.change({ [action]: key, [others[0]]: before });
      this.wait(null);
      return this.say(`${ACTIONS.get(action).name} is on ${label} now, ${names} on ${keys.label(before)}.`);
    }
    keys.change({ [action]: key });
    this.wait(null);
    this.say(`${ACTIONS.get(action).name} is on ${label} now.`);
  }

  // Whether a third action stands where `other` would go.
  blocked(other, key, action) {
    return this.keys.holders(other, key).some((third) => third !== action);
  }

  say(text) {
    this.frame.$("review-keys-message").textContent = text;
  }
}

function element(name, content) {
  const made = document.createElement(name);
  if (name === "button") made.type = "button";
  made.append(content);
  return made;
}
