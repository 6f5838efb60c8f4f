// An image under its outlines, in pixels of the image: zoom by wheel, buttons or two fingers, drag to move it, or drag
// a box where that is asked for.

import { makeSvg } from "./dom.js";

const MOST_ZOOM = 40;

export function outlines(quads, colour, kind, words) {
  return quads.map((quad) => outline(quad, colour, kind, words));
}

export function outline(quad, colour, kind = "", words = "") {
  const points = quad.map(([x, y]) => `${x},${y}`).join(" ");
  const shape = makeSvg("polygon", { class: `box ${kind}`, points, stroke: colour });
  if (words) shape.append(makeSvg("title", {}, words));
  return makeSvg("g", {}, makeSvg("polygon", { class: "halo", points }), shape);
}

export function small(address, width, height, shapes, words) {
  const picture = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  picture.append(makeSvg("image", { href: address, width, height, preserveAspectRatio: "none" }), ...shapes);
  return picture;
}

export class Picture {
  constructor(host, { onBox } = {}) {
    this.host = host;
    this.onBox = onBox;
    this.pointers = new Map();
    this.svg = makeSvg("svg", { class: "picture", tabindex: "-1" });
    this.image = makeSvg("image", { preserveAspectRatio: "none" });
    this.shapes = makeSvg("g");
    this.drawn = makeSvg("rect", { class: "drawn" });
    this.svg.append(this.image, this.shapes, this.drawn);
    host.replaceChildren(this.svg);
    this.svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.svg.addEventListener("dblclick", () => this.reset());
    for (const kind of ["down", "move", "up", "cancel"]) {
      this.svg.addEventListener(`pointer${kind}`, (event) => this.pointer(kind, event));
    }
    this.show("", 1, 1, []);
  }

  show(address, width, height, shapes) {
    [this.width, this.height] = [width, height];
    for (const [name, value] of Object.entries({ href: address, width, height })) this.image.setAttribute(name, value);
    this.shapes.replaceChildren(...shapes);
    this.drawn.setAttribute("width", 0);
    this.box = null;
    this.reset();
  }

  draw(shapes) {
    this.shapes.replaceChildren(...shapes);
  }

  reset() {
    this.view = { x: 0, y: 0, width: this.width, height: this.height };
    this.update();
  }

  zoom(factor, at = { x: this.view.x + this.view.width / 2, y: this.view.y + this.view.height / 2 }) {
    const width = Math.min(Math.max(this.view.width / factor, this.width / MOST_ZOOM), this.width * 2);
    const scale = width / this.view.width;
    const height = this.view.height * scale;
    this.view = { x: at.x - (at.x - this.view.x) * scale, y: at.y - (at.y - this.view.y) * scale, width, height };
    this.update();
  }

  move(x, y) {
    this.view.x += x;
    this.view.y += y;
    this.update();
  }

  update() {
    const { x, y, width, height } = this.view;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    this.svg.classList.toggle("close", width < this.width / 3);
  }

  // Pixels of the image below a place on the screen.
  place(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return { x: point.x, y: point.y };
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 300), this.place(event));
  }

  pointer(kind, event) {
    if (kind === "down" && event.button === 0) {
      this.svg.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
      if (this.onBox && this.pointers.size === 1) this.start = this.place(event);
    } else if (kind === "move" && this.pointers.has(event.pointerId)) {
      this.drag(event);
    } else if (kind === "up" || kind === "cancel") {
      if (this.pointers.delete(event.pointerId) && this.start) this.finish();
    }
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    const [from, to] = [this.place(before), this.place(event)];
    if (this.pointers.size === 2) {
      const other = [...this.pointers.entries()].find(([id]) => id !== event.pointerId)[1];
      const centre = this.place(other);
      const distance = (point) => Math.hypot(point.x - centre.x, point.y - centre.y) || 1;
      this.start = null;
      this.zoom(distance(to) / distance(from), centre);
    } else if (this.start) {
      this.drawBox(this.start, to);
    } else {
      this.move(from.x - to.x, from.y - to.y);
    }
    this.pointers.set(event.pointerId, event);
  }

  drawBox(from, to) {
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    const [x1, x2] = [from.x, to.x].map((value) => inside(value, this.width)).sort((a, b) => a - b);
    const [y1, y2] = [from.y, to.y].map((value) => inside(value, this.height)).sort((a, b) => a - b);
    this.box = [x1, y1, x2, y2];
    const values = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
    for (const [name, value] of Object.entries(values)) this.drawn.setAttribute(name, value);
  }

  finish() {
    this.start = null;
    const box = this.box;
    if (box && box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.onBox(box);
  }
}
