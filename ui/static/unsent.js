// What is not stored yet, in this browser's storage: each command under a key of its own and the name of who decided it,
// so that it outlives its tab and another's login, and no tab writes over what another one keeps.

import { forget, forgetAlways, keepAlways, keptAlways, recall, recallAlways, storeOf } from "./memory.js";

export class Unsent {
  constructor(dataset) {
    this.prefix = `${storeOf("unsent", dataset)}:`; // no name of a user has a colon
    this.count = 0;
    const before = `m3po.outbox.${dataset.workspace}`; // the tab's, where earlier versions kept it
    if (recall(before, []).every((command) => this.put(command))) forget(before);
  }

  keyOf({ by, client_id }) {
    return `${this.prefix}${by}:${client_id}`;
  }

  // False when it could not be kept.
  put(command) {
    return keepAlways(this.keyOf(command), { at: Date.now(), n: this.count++, command });
  }

  drop(command) {
    forgetAlways(this.keyOf(command));
  }

  // What `user` decided, in its order; with an `age`, in ms, what has waited as long.
  of(user, age = 0) {
    const found = keptAlways(`${this.prefix}${user}:`).map((key) => recallAlways(key, null)).filter(Boolean);
    const old = found.filter(({ at }) => Date.now() - at >= age);
    return old.sort((a, b) => a.at - b.at || a.n - b.n).map((one) => one.command);
  }

  // How many decisions of whom wait besides those of `user`, as [name, count].
  besides(user) {
    const counts = new Map();
    for (const key of keptAlways(this.prefix)) {
      const [name] = key.slice(this.prefix.length).split(":");
      if (name !== user) counts.set(name, (counts.get(name) || 0) + 1);
    }
    return [...counts];
  }
}
