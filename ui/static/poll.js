// Review asks again by itself while nothing is ready yet, or while an edit is being scored; else now and then how the
// shown item stands.

const OFTEN = 2000; // ms
const SCORING = 1200;
const SELDOM = 5000;

export class Poll {
  constructor(frame, deck) {
    Object.assign(this, { frame, deck });
    this.timer = null;
  }

  // Call it when something was done: the wait begins anew.
  schedule() {
    clearTimeout(this.timer);
    const { frame, deck } = this;
    const { item } = deck;
    const isReady = item && !item.waiting && !item.scoring;
    const wait = isReady ? SELDOM : item && item.scoring ? SCORING : OFTEN;
    if (!frame.root.isConnected) return;
    this.timer = setTimeout(() => {
      const isIdle = frame.isShown && !deck.busy && !deck.outbox.size;
      if (isIdle && isReady) deck.around.fetch();
      else if (isIdle) deck.refresh();
      this.schedule();
    }, wait);
  }
}
