// The frame of the review page: its elements by id, the drawn parts, the empty page and the message below.

export class Frame {
  constructor(element) {
    this.element = element;
    this.root = element.querySelector("#review-root");
    this.drawn = {};
    this.sayTimer = null;
  }

  $(id) {
    return this.element.querySelector("#" + id);
  }

  get isShown() {
    return this.root.isConnected && this.root.offsetParent !== null;
  }

  // `html` is made by ui/markup.py, which escapes every text.
  setPart(id, html) {
    const part = this.$(id);
    if (this.drawn[id] === html && part.childNodes.length) return;
    this.drawn[id] = html;
    part.innerHTML = html;
  }

  say(text, level) {
    const box = this.$("review-message");
    clearTimeout(this.sayTimer);
    box.textContent = text;
    box.className = level === "error" ? "message-error" : "message-hint";
    box.setAttribute("role", level === "error" ? "alert" : "status");
    box.hidden = !text;
    if (text && level !== "error") this.sayTimer = setTimeout(() => (box.hidden = true), 4000);
  }

  // What is shown instead of an item; `onAction` is called with the name of what its button does.
  drawEmpty(empty, onAction) {
    const box = this.$("review-empty");
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
    button.onclick = () => onAction(empty.action);
    box.append(title, text, button);
    box.dataset.waiting = empty.waiting ? "1" : "";
  }
}
