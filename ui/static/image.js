// Zoom and pan of the image: fitted first; the wheel and two fingers zoom, dragging moves, a double click fits again.

import { keepAlways, recallAlways } from "./memory.js";

const KEEP = "m3po.keep-zoom"; // 1: zoom and place stay from item to item
const MOST = 24;
const FULL_FROM = 1.6; // from this zoom on, the image at full size takes its place

export class Images {
  constructor(frame) {
    this.frame = frame;
    this.box = frame.$("review-image");
    this.zoom = { scale: 1, x: 0, y: 0 }; // x, y: the shift in shares of the image's place
    this.pointers = new Map();
    this.keep = frame.$("review-keep-zoom");
    this.keep.checked = recallAlways(KEEP, 0) === 1;
    this.keep.addEventListener("change", () => {
      keepAlways(KEEP, this.keep.checked ? 1 : 0);
      this.keep.blur();
    });
    this.box.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    this.box.addEventListener("pointerdown", (event) => this.onDown(event));
    this.box.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) this.box.addEventListener(end, (event) => this.onUp(event));
    this.box.addEventListener("dblclick", (event) => this.toggle(event));
    frame.element.querySelector(".image-tools").addEventListener("click", (event) => {
      const { zoom } = event.target.dataset;
      if (zoom === "fit") this.fit();
      else if (zoom) this.zoomAt(zoom === "in" ? 1.5 : 1 / 1.5);
    });
  }

  // Another item is drawn.
  onShow() {
    if (!this.keep.checked) this.zoom = { scale: 1, x: 0, y: 0 };
    this.apply();
  }

  fit() {
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.apply();
  }

  toggle(event) {
    if (this.zoom.scale > 1) this.fit();
    else this.zoomAt(2.5, event);
  }

  // `at`: what has clientX and clientY, and stays where it is; without it the middle.
  zoomAt(factor, at) {
    const place = this.placeOf(at && at.target);
    if (!place) return;
    const scale = Math.min(Math.max(this.zoom.scale * factor, 1), MOST);
    const real = scale / this.zoom.scale;
    const fx = at && at.clientX !== undefined ? (at.clientX - place.left) / place.width - 0.5 : 0;
    const fy = at && at.clientY !== undefined ? (at.clientY - place.top) / place.height - 0.5 : 0;
    this.zoom = { scale, x: fx - (fx - this.zoom.x) * real, y: fy - (fy - this.zoom.y) * real };
    this.apply();
  }

  placeOf(target) {
    const own = target instanceof Element && target.closest(".image-zoom");
    const place = own || this.box.querySelector(".image-zoom");
    return place && place.getBoundingClientRect();
  }

  apply() {
    const { zoom } = this;
    const most = (zoom.scale - 1) / 2; // the image never leaves its place
    zoom.x = Math.min(Math.max(zoom.x, -most), most);
    zoom.y = Math.min(Math.max(zoom.y, -most), most);
    for (const place of this.box.querySelectorAll(".image-zoom")) {
      const image = place.querySelector("img");
      const transform = zoom.scale === 1 ? "" : `translate(${zoom.x * 100}%, ${zoom.y * 100}%) scale(${zoom.scale})`;
      if (image.style.transform !== transform) image.style.transform = transform;
      if (zoom.scale > FULL_FROM) this.loadFull(place, image);
    }
    this.box.classList.toggle("zoomed", zoom.scale > 1);
    this.box.dataset.scale = zoom.scale.toFixed(2);
  }

  // The small one stays until the large one is there.
  loadFull(place, image) {
    if (place.dataset.asked) return;
    place.dataset.asked = "1";
    const full = new Image();
    full.src = place.dataset.full;
    full.decode().then(() => (image.src = full.src)).catch(() => delete place.dataset.asked);
  }

  onWheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : 1;
    this.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), event);
  }

  onDown(event) {
    if (event.button || !event.target.closest(".image-zoom")) return;
    this.pointers.set(event.pointerId, event);
    this.box.setPointerCapture(event.pointerId);
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((pointer) => pointer.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    const place = this.placeOf(before.target);
    if (others.length) {
      const distance = (pointer) => Math.hypot(pointer.clientX - others[0].clientX, pointer.clientY - others[0].clientY);
      const middle = { clientX: (event.clientX + others[0].clientX) / 2, clientY: (event.clientY + others[0].clientY) / 2 };
      this.zoomAt(distance(event) / Math.max(distance(before), 1), middle);
    } else {
      this.zoom.x += (event.clientX - before.clientX) / place.width;
      this.zoom.y += (event.clientY - before.clientY) / place.height;
      this.apply();
    }
  }

  onUp(event) {
    this.pointers.delete(event.pointerId);
  }
}
