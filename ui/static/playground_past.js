// The last questions of this browser tab with their answers: they are kept here alone, and can be asked again.

import { keep, recall } from "./memory.js";
import { readPlace } from "./playground_place.js";

const MOST = 20;

export class Past {
  constructor(page) {
    this.page = page;
    this.store = `${page.store}.past`;
    this.kept = recall(this.store, []);
  }

  find(id) {
    return this.kept.find((entry) => entry.id === id);
  }

  // One that is followed again after a reload is here already.
  add(entry) {
    if (this.find(entry.id)) return;
    this.kept = [entry, ...this.kept].slice(0, MOST);
    keep(this.store, this.kept);
    this.draw();
  }

  draw() {
    this.page.$("history").hidden = !this.kept.length;
    this.page.$("history").querySelector("summary").textContent = `Last questions (${this.kept.length})`;
    this.page.$("past").replaceChildren(...this.kept.map((entry) => this.drawOne(entry)));
  }

  drawOne(entry) {
    const [article, words, head, answers] = ["article", "div", "p", "div"].map((name) => document.createElement(name));
    article.className = "past";
    head.className = "past-head";
    answers.className = "past-answers";
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "link", textContent: "Take it up again" });
    button.onclick = () => this.page.take({ ...readPlace(entry.place), question: entry.question }).then(() => this.page.remember());
    head.append(entry.question, button);
    answers.innerHTML = entry.sides.join(""); // as the server drew it
    words.append(head, answers);
    if (entry.thumb) {
      const image = new Image();
      image.src = entry.thumb;
      image.alt = "";
      article.append(image);
    } else article.append(document.createElement("span"));
    article.append(words);
    return article;
  }
}
