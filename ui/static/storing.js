// What the page says of decisions that are not stored yet: how many they are, and whose login they wait for.

export class Storing {
  constructor(frame, deck) {
    Object.assign(this, { frame, deck });
    this.failing = false;
  }

  // `kept`: a reload would find them again.
  onCount(count, failing, kept) {
    const { frame } = this;
    const { isBlocked } = this.deck.outbox;
    frame.drawUnstored(count, failing || isBlocked, kept);
    const lost = kept ? "" : " This browser keeps nothing over a reload: leave the page open until then.";
    if (failing) frame.say(`The server does not answer. What is not stored yet is kept here and sent again.${lost}`, "error");
    else if (this.failing && !count && !isBlocked) frame.say("The server answers again: all is stored.", "hint");
    this.failing = failing || isBlocked || (this.failing && count > 0);
    this.deck.tellBusy();
  }

  // The login has ended, is there again, or is another's.
  onLogin() {
    if (this.deck.entry) this.frame.say("", "hint");
    this.tell();
  }

  tell() {
    const { by, outbox } = this.deck;
    const box = this.frame.$("review-login");
    const parts = outbox.user === "" ? tellEnd(outbox.kept) : tellOthers(outbox, by);
    box.replaceChildren(...parts);
    box.hidden = !parts.length;
  }
}

function tellEnd(kept) {
  const link = document.createElement("a");
  link.textContent = "Log in again";
  link.href = location.pathname;
  link.target = "_blank";
  const where = kept ? " (a new tab), or reload this page: " : " in a new tab and leave this page open: ";
  return ["Your login has ended. ", link, `${where}what is not stored yet is kept and sent then.`];
}

function tellOthers({ user, unsent, kept, isBlocked }, by) {
  const then = kept ? `reload it to go on as ${user}` : `leave it open until ${by} logs in again, or what waits is lost`;
  const words = isBlocked ? [`This page is ${by}'s, and ${user} is logged in now: ${then}. `] : [];
  for (const [name, count] of unsent.besides(user)) {
    const wait = count === 1 ? "decision waits" : "decisions wait";
    words.push(`${count} of ${name}'s ${wait} in this browser, not stored yet: sent when ${name} logs in again. `);
  }
  return words;
}
