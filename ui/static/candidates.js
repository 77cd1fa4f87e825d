// The candidates on the page: which one is selected by arrow keys or a click.

export class Candidates {
  constructor(frame) {
    this.frame = frame;
    this.selected = null; // candidate id
  }

  all() {
    return [...this.frame.element.querySelectorAll("[data-candidate-id]")];
  }

  numbered(number) {
    return this.frame.element.querySelector(`[data-number="${number}"]`);
  }

  select(id) {
    let found = null;
    for (const card of this.all()) {
      const on = Number(card.dataset.candidateId) === id;
      card.classList.toggle("selected", on);
      card.setAttribute("aria-current", on ? "true" : "false");
      if (on) found = card;
    }
    this.selected = found ? id : null;
    if (found) found.scrollIntoView({ block: "nearest" });
    for (const point of this.frame.element.querySelectorAll("[data-point]")) {
      point.classList.toggle("selected", Number(point.dataset.point) === this.selected);
    }
  }

  selectNeighbour(step) {
    const all = this.all();
    if (!all.length) return;
    const at = all.findIndex((card) => Number(card.dataset.candidateId) === this.selected);
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + step));
    this.select(Number(all[next].dataset.candidateId));
  }
}
