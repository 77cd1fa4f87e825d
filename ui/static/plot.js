// The plot of all pairs: MAS to the right, confidence upwards, as cells or single points; a box or a lasso on it.
// Corners of an area are (confidence, MAS), as everywhere.

const PAD = { left: 46, right: 12, top: 8, bottom: 32 };
const STEP = 5; // pixels between corners of a lasso
const MAX_CORNERS = 80;
const NEAR = 9; // pixels from a point that a click means

export class Plot {
  constructor(canvas, { onArea, onPoint }) {
    Object.assign(this, { canvas, onArea, onPoint });
    this.tool = "lasso";
    this.data = null;
    this.area = null;
    this.trail = null; // corners in pixels while the pointer is down
    canvas.addEventListener("pointerdown", (event) => this.onDown(event));
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    canvas.addEventListener("pointerup", (event) => this.onUp(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  show(data, role, area) {
    Object.assign(this, { data, role, area: area && area.role === role ? area : null });
    const what = data.points ? "points" : "cells of a density";
    this.canvas.setAttribute("aria-label", `MAS against confidence of ${data.shown} ${role} answers, as ${what}`);
    this.draw();
  }

  toPixels([confidence, mas]) {
    const { x, y } = this.data;
    return [
      PAD.left + (this.width * (mas - x[0])) / (x[1] - x[0]),
      PAD.top + this.height * (1 - (confidence - y[0]) / (y[1] - y[0])),
    ];
  }

  toValues([left, top]) {
    const { x, y } = this.data;
    const mas = x[0] + ((left - PAD.left) / this.width) * (x[1] - x[0]);
    const confidence = y[0] + (1 - (top - PAD.top) / this.height) * (y[1] - y[0]);
    return [round(confidence), round(mas)];
  }

  draw() {
    const { canvas, data } = this;
    const box = canvas.parentElement.getBoundingClientRect();
    if (!data || !box.width) return;
    const pen = sizeCanvas(canvas, box.width, box.height);
    const colour = colours(canvas);
    this.width = box.width - PAD.left - PAD.right;
    this.height = box.height - PAD.top - PAD.bottom;
    const own = this.role === "chosen" ? colour("--m3-chosen") : colour("--m3-rejected");
    if (data.points) this.drawPoints(pen, own, colour);
    else this.drawCells(pen, own);
    pen.strokeStyle = colour("--m3-line-strong");
    pen.strokeRect(PAD.left, PAD.top, this.width, this.height);
    this.drawAxes(pen, colour("--m3-quiet"), box);
    const corners = this.trail || (this.area && this.area.corners.map((corner) => this.toPixels(corner)));
    if (corners) this.drawArea(pen, corners, colour("--m3-accent"), colour("--m3-surface"));
  }

  drawCells(pen, own) {
    const { counts, columns, rows } = this.data;
    const most = Math.log1p(Math.max(...counts));
    const w = this.width / columns;
    const h = this.height / rows;
    pen.fillStyle = own;
    for (let at = 0; at < counts.length; at++) {
      if (!counts[at]) continue;
      pen.globalAlpha = 0.08 + 0.92 * (Math.log1p(counts[at]) / most);
      const column = at % columns;
      const row = rows - 1 - Math.floor(at / columns);
      // Whole pixels: cells that overlap or leave a slit would draw a grid that is not there.
      const [left, right] = [Math.round(column * w), Math.round((column + 1) * w)];
      const [top, bottom] = [Math.round(row * h), Math.round((row + 1) * h)];
      pen.fillRect(PAD.left + left, PAD.top + top, right - left, bottom - top);
    }
    pen.globalAlpha = 1;
  }

  drawPoints(pen, own, colour) {
    const { points } = this.data;
    pen.fillStyle = own;
    pen.strokeStyle = colour("--m3-surface");
    pen.globalAlpha = points.length > 400 ? 0.55 : 0.8;
    for (const [mas, confidence] of points) {
      const [left, top] = this.toPixels([confidence, mas]);
      pen.beginPath();
      if (this.role === "chosen") triangle(pen, left, top, -4);
      else triangle(pen, left, top, 4);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  drawAxes(pen, quiet, box) {
    const { x, y } = this.data;
    pen.fillStyle = quiet;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "top";
    const below = PAD.top + this.height + 4;
    pen.textAlign = "left";
    pen.fillText(x[0].toFixed(2).replace("-", "−"), PAD.left, below);
    pen.textAlign = "right";
    pen.fillText(x[1].toFixed(2).replace("-", "−"), PAD.left + this.width, below);
    pen.fillText(y[1].toFixed(2), PAD.left - 5, PAD.top);
    pen.fillText(y[0].toFixed(2), PAD.left - 5, PAD.top + this.height - 11);
    pen.textAlign = "center";
    pen.fillText("MAS → better aligned", PAD.left + this.width / 2, below + 12);
    pen.save();
    pen.translate(8, PAD.top + this.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("confidence → believed", 0, 0);
    pen.restore();
  }

  // What is left out pales; what is in stays as it was.
  drawArea(pen, corners, line, veil) {
    const area = new Path2D();
    for (const [left, top] of corners) area.lineTo(left, top);
    area.closePath();
    const outside = new Path2D(area);
    outside.rect(PAD.left - 6, PAD.top - 6, this.width + 12, this.height + 12); // a point at the edge reaches over it
    pen.globalAlpha = 0.65;
    pen.fillStyle = veil;
    pen.fill(outside, "evenodd");
    pen.globalAlpha = 1;
    pen.strokeStyle = line;
    pen.lineWidth = 2;
    pen.setLineDash([5, 3]);
    pen.stroke(area);
    pen.setLineDash([]);
    pen.lineWidth = 1;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const left = Math.min(Math.max(event.clientX - box.left, PAD.left), PAD.left + this.width);
    const top = Math.min(Math.max(event.clientY - box.top, PAD.top), PAD.top + this.height);
    return [left, top];
  }

  onDown(event) {
    if (!this.data || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.start = this.place(event);
    this.trail = [this.start];
  }

  onMove(event) {
    if (!this.trail) return;
    const at = this.place(event);
    const [left, top] = this.start;
    const last = this.trail[this.trail.length - 1];
    if (this.tool === "box") this.trail = [[left, top], [at[0], top], at, [left, at[1]]];
    else if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= STEP) this.trail.push(at);
    this.draw();
  }

  onUp(event) {
    const { trail } = this;
    this.trail = null;
    if (!trail) return;
    const at = this.place(event);
    if (Math.hypot(at[0] - this.start[0], at[1] - this.start[1]) < 4 && trail.length < 3) {
      this.draw();
      return this.onClick(at);
    }
    if (trail.length < 3) return this.draw();
    const every = Math.ceil(trail.length / MAX_CORNERS);
    const corners = trail.filter((_, place) => place % every === 0).map((corner) => this.toValues(corner));
    this.onArea({ role: this.role, corners });
  }

  drop() {
    this.trail = null;
    this.draw();
  }

  onClick(at) {
    let best = null;
    let least = NEAR;
    for (const [mas, confidence, id] of this.data.points || []) {
      const [left, top] = this.toPixels([confidence, mas]);
      const far = Math.hypot(left - at[0], top - at[1]);
      if (far < least) [best, least] = [id, far];
    }
    if (best !== null) this.onPoint(best);
  }
}

function triangle(pen, left, top, size) {
  pen.moveTo(left - 4, top - size * 0.8);
  pen.lineTo(left + 4, top - size * 0.8);
  pen.lineTo(left, top + size);
  pen.closePath();
}

function round(value) {
  return Math.round(value * 1e4) / 1e4;
}

export function sizeCanvas(canvas, width, height) {
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  return pen;
}

// Reads a colour of style.css as it is now, light or dark.
export function colours(element) {
  const style = getComputedStyle(element);
  return (name) => style.getPropertyValue(name).trim();
}
