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

  // Put the parts of an entry (shelf.js) into their places; what is there already stays, the image with its zoom too.
  show(entry, except) {
    for (const [id, nodes] of Object.entries(entry.nodes)) {
      const part = this.$(id);
      if (id === except) continue;
      if (this.drawn[id] === entry.html[id] && part.childNodes.length) {
        entry.nodes[id] = [...part.childNodes];
      } else {
        this.drawn[id] = entry.html[id];
        part.replaceChildren(...nodes);
      }
    }
  }

  // Where the item stands in the view, and how far the whole workspace is.
  drawPlace(place) {
    const write = (value) => value.toLocaleString("en-US");
    const position = this.$("review-position");
    this.$("review-progress").hidden = !place;
    if (!place) return position.replaceChildren();
    const bold = document.createElement("b");
    bold.textContent = write(place.position);
    if (place.position) position.replaceChildren(bold, ` / ${write(place.total)}`);
    else position.textContent = `not in this view (${write(place.total)} are)`;
    const share = place.reviewable ? (100 * place.reviewed) / place.reviewable : 0;
    const label = `${write(place.reviewed)} of ${write(place.reviewable)} reviewed`;
    const bar = this.$("review-bar");
    bar.firstElementChild.style.width = `${share}%`;
    bar.setAttribute("aria-valuenow", share.toFixed(0));
    bar.setAttribute("aria-label", label);
    this.$("review-reviewed").textContent = label;
  }

  // Where the items do not come in the view's own order, the menu would tell what is not so.
  tellOrder(isFixed) {
    this.$("review-order").hidden = isFixed;
  }

  // How many decisions the server has not acknowledged.
  drawUnstored(count, failing, kept) {
    const box = this.$("review-unstored");
    box.hidden = !count;
    box.textContent = count ? `${count} not stored yet` : "";
    box.classList.toggle("failing", failing);
    box.title = failing ? "They are sent again until the server takes them." : "On their way to the server.";
    if (!kept) box.title += " This browser does not keep them over a reload.";
  }

  say(text, level) {
    const box = this.$("review-message");
    clearTimeout(this.sayTimer);
    box.textContent = text;
    box.className = level === "error" ? "message-error" : "message-hint";
    box.setAttribute("role", level === "error" ? "alert" : "status");
    box.hidden = !text;
    if (text && level !== "error") this.sayTimer = setTimeout(() => (box.hidden = true), Math.max(4000, text.length * 60)); // time to read it
  }

  // While a view takes long it can be given up; null when its answer is there.
  tellSearching(onCancel) {
    const box = this.$("review-searching");
    box.hidden = !onCancel;
    if (onCancel) box.querySelector("button").onclick = onCancel;
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
    box.append(title, text);
    const label = { train: "Go to Fine-tune", data: "Go to Data", all: "Show all", flagged: "Show flagged" }[empty.action];
    if (label) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "action action-main";
      button.textContent = label;
      button.onclick = () => onAction(empty.action);
      box.append(button);
    }
    box.dataset.waiting = empty.waiting ? "1" : "";
  }
}
