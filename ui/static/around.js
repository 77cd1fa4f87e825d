// The items around the shown one are fetched while the annotator looks at it: several in one call, what is here already not again.

export class Around {
  // `shown`: has `shownId` and `view`; `waits()`: are decisions on their way, whose answer brings what is around;
  // `onPlace(deck)` is told how the shown item stands.
  constructor(server, shelf, shown, waits, onPlace) {
    Object.assign(this, { server, shelf, shown, waits, onPlace });
    this.fetching = this.again = false;
  }

  // The question, to be sent alone or along with decisions; null when nothing is shown.
  ask() {
    const { shownId, view } = this.shown;
    if (shownId === null) return null;
    const { known } = this.shelf;
    return { op: "deck", instruction_id: shownId, view: { ...view }, known, request: this.shelf.nextRequest() };
  }

  async fetch() {
    if (this.waits()) return; // the server does not know of them yet: what it would say now is old
    if (this.fetching) {
      this.again = true;
      return;
    }
    this.fetching = true;
    const asked = this.ask();
    try {
      const deck = asked && (await this.server.review(asked));
      if (deck && !deck.error) this.take(deck, asked.request);
    } catch {
      // the next command will say it
    }
    this.fetching = false;
    if (this.again) {
      this.again = false;
      this.fetch();
    }
  }

  take(deck, request) {
    const { shownId } = this.shown;
    if (shownId === null || request <= this.shelf.clearedAt) return;
    if (this.shelf.take(deck, request, shownId)) this.onPlace(deck);
    else this.fetch(); // it is about an item that was shown before
  }
}
