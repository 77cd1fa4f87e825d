// The rows of the other candidates take the room that there is: whole answers where it suffices; else without the
// beginning that they share with another one, and each cut to as many lines as fit.

const MOST = 6; // lines of an answer that is cut

export class Rows {
  constructor(frame) {
    this.box = frame.$("review-candidates");
    // Drawn anew, coloured by tokens, resized by the window, the history or a note.
    new MutationObserver(() => this.fit()).observe(this.box, { childList: true, subtree: true });
    new ResizeObserver(() => this.fit()).observe(this.box);
  }

  get overflow() {
    return this.box.scrollHeight - this.box.clientHeight;
  }

  fit() {
    const list = this.box.querySelector(".rows");
    if (!list || !this.box.clientHeight) return;
    const rows = [...list.children];
    const cut = (lines) => rows.forEach((row, i) => row.style.setProperty("--lines", lines[i]));
    list.classList.add("measuring"); // every row closed and as high as its text
    list.dataset.start = "shown";
    cut(rows.map(() => "none"));
    if (this.overflow > 0) delete list.dataset.start;
    if (this.overflow > 0) cut(this.share(rows));
    const heights = rows.map((row) => row.firstElementChild.offsetHeight);
    rows.forEach((row, i) => row.style.setProperty("--row", `${heights[i]}px`));
    list.classList.remove("measuring");
  }

  // How many lines each row has, so that all are in sight: as many for all, what is left to the first ones. One where
  // not even that does.
  share(rows) {
    const texts = rows.map((row) => row.querySelector(".row-text"));
    const line = parseFloat(getComputedStyle(texts[0]).lineHeight);
    const wanted = texts.map((text) => Math.round(text.offsetHeight / line));
    let room = Math.floor((this.box.clientHeight - this.box.scrollHeight) / line) + wanted.reduce((sum, n) => sum + n, 0);
    const lines = wanted.map(() => 1);
    room -= lines.length;
    for (let more = 2; more <= MOST; more += 1) {
      for (let i = 0; i < lines.length && room > 0; i += 1) {
        if (wanted[i] < more) continue;
        lines[i] = more;
        room -= 1;
      }
    }
    return lines;
  }
}
