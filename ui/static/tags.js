// The item's tags: words to find it again by, whatever is decided about it. Shown beside reason and note.

import { button, chip } from "./remarks.js";

export class Tags {
  constructor(deck, remarks, server) {
    Object.assign(this, { deck, remarks, server });
    remarks.kinds.tags = () => this.open();
    remarks.onChip = (item) => item.tags.map((tag) => this.draw(tag));
  }

  draw({ name, by, mine }) {
    const made = chip(`# ${name}`, `Tag, given by ${by.join(", ")}`);
    made.dataset.tag = name;
    const remove = button("✕", () => this.deck.push({ op: "untag", text: name }));
    remove.className = mine ? "link" : "link curator-only";
    remove.title = "Take this tag off";
    remove.setAttribute("aria-label", `Take the tag ${name} off`);
    made.append(" ", remove);
    return made;
  }

  open() {
    const field = document.createElement("input");
    field.id = "review-tag-text";
    field.type = "text";
    field.maxLength = Number(this.deck.frame.root.dataset.maxTag);
    field.autocomplete = "off";
    field.placeholder = "A tag for this item: Enter adds it, Esc leaves";
    field.setAttribute("aria-label", "A tag for this item");
    const known = document.createElement("datalist");
    known.id = "review-tag-names";
    field.setAttribute("list", known.id);
    field.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key !== "Escape" && event.key !== "Enter") return;
      event.preventDefault();
      const text = field.value.trim();
      field.value = "";
      if (event.key === "Enter" && text) this.deck.push({ op: "tag", text });
      else this.remarks.close();
    };
    this.remarks.box.replaceChildren(field, known);
    field.focus();
    this.offer(known);
  }

  async offer(known) {
    try {
      const answer = await this.server.review({ op: "sources" });
      known.replaceChildren(...((answer && answer.tags) || []).map((name) => new Option(name, name)));
    } catch {
      // a tag can be written without
    }
  }
}
