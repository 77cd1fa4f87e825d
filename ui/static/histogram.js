// A histogram with a brush: a drag keeps a range, a click lifts it. The outermost bars also stand for what lies beyond, so
// a brush that reaches them has no end on that side.

import { colours, sizeCanvas } from "./plot.js";

const FOOT = 14;

export class Histogram {
  constructor(canvas, onRange) {
    Object.assign(this, { canvas, onRange });
    this.data = null;
    this.range = null;
    this.drag = null; // [from, to], from 0 to 1, while the pointer is down
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.data || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.drag = [this.share(event), this.share(event)];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      this.drag[1] = this.share(event);
      this.draw();
    });
    canvas.addEventListener("pointerup", () => this.onUp());
    canvas.addEventListener("pointercancel", () => {
      this.drag = null;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  share(event) {
    const box = this.canvas.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  }

  show(data, range) {
    Object.assign(this, { data, range });
    this.draw();
  }

  onUp() {
    if (!this.drag) return;
    const bins = this.data.counts.length;
    const [from, to] = this.drag.toSorted((a, b) => a - b);
    this.drag = null;
    if (to - from < 0.5 / bins) return this.onRange(null, null);
    const first = Math.floor(from * bins);
    const last = Math.min(Math.ceil(to * bins), bins);
    const { low, high } = this.data;
    const edge = (bin) => Number((low + ((high - low) * bin) / bins).toPrecision(4));
    this.onRange(first <= 0 ? null : edge(first), last >= bins ? null : edge(last));
  }

  // The kept part, from 0 to 1.
  kept() {
    if (this.drag) return this.drag.toSorted((a, b) => a - b);
    if (!this.range) return null;
    const { low, high } = this.data;
    const share = (value, open) => (value === null ? open : Math.min(Math.max((value - low) / (high - low), 0), 1));
    return [share(this.range.low, 0), share(this.range.high, 1)];
  }

  draw() {
    const { canvas, data } = this;
    if (!data) return;
    const { clientWidth: width, clientHeight: height } = canvas.parentElement;
    if (!width) return;
    const pen = sizeCanvas(canvas, width, height);
    const tall = height - FOOT;
    const colour = colours(canvas);
    const most = Math.max(1, ...data.counts);
    const bar = width / data.counts.length;
    const kept = this.kept();
    data.counts.forEach((count, at) => {
      const middle = (at + 0.5) / data.counts.length;
      const inside = !kept || (middle >= kept[0] && middle <= kept[1]);
      pen.fillStyle = colour(inside ? "--m3-accent" : "--m3-line-strong");
      const long = count ? Math.max(1.5, (tall * count) / most) : 0;
      pen.fillRect(at * bar + 0.5, tall - long, Math.max(1, bar - 1), long);
    });
    pen.fillStyle = colour("--m3-line-strong");
    pen.fillRect(0, tall, width, 1);
    if (kept) {
      pen.fillStyle = colour("--m3-accent");
      for (const edge of kept) pen.fillRect(Math.min(edge * width, width - 2), 0, 2, tall);
    }
    pen.fillStyle = colour("--m3-quiet");
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "bottom";
    pen.textAlign = "left";
    const write = (value) => value.toFixed(2).replace("-", "−");
    pen.fillText(write(data.low), 0, tall + FOOT);
    pen.textAlign = "right";
    pen.fillText(write(data.high), width, tall + FOOT);
  }
}
