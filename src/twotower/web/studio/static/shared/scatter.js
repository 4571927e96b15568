/* A scatter plot on a canvas: pan, zoom, hover and select, with mouse, touch and keyboard.

   Points are written directly into the canvas pixels, which keeps 20,000 of them smooth without
   hardware acceleration. */

const MARGIN = 0.14;
const REACH = 14; // maximum distance between the pointer and a point, in pixels

export class Scatter {
  /** `onHover(place, x, y)` and `onChoose(place)` are called with the index of a point, or -1. */
  constructor(canvas, { onHover, onChoose } = {}) {
    Object.assign(this, { canvas, onHover, onChoose });
    this.context = canvas.getContext("2d");
    this.x = this.y = [];
    this.colour = null;
    this.inks = [ink("gray")];
    this.marks = [];
    this.view = { scale: 1, x: 0, y: 0 };
    this.frame = 0;
    if (onChoose) this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
  }

  points(x, y) {
    Object.assign(this, { x, y });
    this.bins = null;
    this.bounds = [extent(x), extent(y)];
    this.view = this.home();
    this.draw();
  }

  /** The view that fits all points and marks into the canvas. */
  home() {
    if (!this.width || !this.x.length) return { scale: 1, x: 0, y: 0 };
    const [[left, right], [bottom, top]] = ["x", "y"].map((axis, n) => extent([...this.bounds[n], ...this.marks.map((mark) => mark[axis])]));
    const unit = Math.min(this.width / (right - left || 1), this.height / (top - bottom || 1)) * (1 - MARGIN);
    return { scale: unit / ((Math.min(this.width, this.height) / 2) * (1 - MARGIN)), x: (left + right) / 2, y: (bottom + top) / 2 };
  }

  /** `colour[place]` is an index into `palette`. */
  colours(colour, palette) {
    Object.assign(this, { colour, inks: palette.map(ink) });
    this.draw();
  }

  /** Marks are {x, y, kind, label}; kinds are "chosen", "near", "user", and "past" for earlier
      positions of the user. */
  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  end() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const atHome = !this.width;
    Object.assign(this, { ratio, width, height });
    if (atHome) this.view = this.home();
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.draw();
  }

  /* --- coordinates --------------------------------------------------------------------------- */

  unit() {
    return (Math.min(this.width, this.height) / 2) * (1 - MARGIN) * this.view.scale;
  }

  toScreen(x, y) {
    const unit = this.unit();
    return [this.width / 2 + (x - this.view.x) * unit, this.height / 2 - (y - this.view.y) * unit];
  }

  toPlane(left, top) {
    const unit = this.unit();
    return [(left - this.width / 2) / unit + this.view.x, (this.height / 2 - top) / unit + this.view.y];
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toPlane(left, top);
    this.view.scale = Math.min(80, Math.max(0.4, this.view.scale * factor));
    const [newX, newY] = this.toPlane(left, top);
    this.view.x += x - newX;
    this.view.y += y - newY;
    this.draw();
  }

  pan(right, down) {
    const unit = this.unit();
    this.view.x -= right / unit;
    this.view.y += down / unit;
    this.draw();
  }

  fit() {
    this.glide(this.home());
  }

  lookAt(x, y, scale = Math.max(this.view.scale, 1.8 * this.home().scale)) {
    this.glide({ scale, x, y });
  }

  glide(to) {
    const from = { ...this.view };
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const start = performance.now();
    const step = (now) => {
      const done = still ? 1 : Math.min(1, (now - start) / 380);
      const eased = 1 - (1 - done) ** 3;
      for (const key of ["scale", "x", "y"]) this.view[key] = from[key] + (to[key] - from[key]) * eased;
      this.paint();
      if (done < 1) this.gliding = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.gliding);
    this.gliding = requestAnimationFrame(step);
  }

  /** The index of the point nearest to a screen position, -1 if none is near. A spatial grid limits
      the search to a few points. */
  at(left, top) {
    this.bins ??= grid(this.x, this.y);
    const [x, y] = this.toPlane(left, top);
    const reach = REACH / this.unit();
    let best = -1, least = reach * reach;
    this.bins.near(x, y, reach, (place) => {
      const distance = (this.x[place] - x) ** 2 + (this.y[place] - y) ** 2;
      if (distance < least) { least = distance; best = place; }
    });
    return best;
  }

  /* --- drawing ------------------------------------------------------------------------------- */

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const { context, ratio, width, height } = this;
    if (!width) return;
    const radius = this.radius ?? Math.min(7, Math.max(1.7, (this.x.length > 4000 ? 2.1 : 3.4) * Math.sqrt(this.view.scale)));
    this.stamp(dot(radius * ratio));
    context.putImageData(this.image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paintMarks(radius);
  }

  /** Draw every point as a dot; later points cover earlier ones. */
  stamp({ side, cover }) {
    const { pixels, x, y, colour, inks, ratio } = this;
    const { width, height } = this.canvas;
    const unit = this.unit() * ratio;
    const left = width / 2 - this.view.x * unit - side / 2, top = height / 2 + this.view.y * unit - side / 2;
    pixels.fill(0);
    for (let place = 0; place < x.length; place += 1) {
      const atX = Math.round(left + x[place] * unit), atY = Math.round(top - y[place] * unit);
      if (atX < 0 || atY < 0 || atX + side > width || atY + side > height) continue;
      const tone = inks[colour ? colour[place] : 0];
      for (let row = 0, mask = 0; row < side; row += 1) {
        let pixel = (atY + row) * width + atX;
        for (let column = 0; column < side; column += 1, mask += 1, pixel += 1) {
          const part = cover[mask];
          if (!part) continue;
          const before = pixels[pixel] >>> 24;
          if (part > 127 || part >= before) pixels[pixel] = (Math.max(part, before) << 24) | tone;
        }
      }
    }
  }

  paintMarks(radius) {
    const { context } = this;
    const { color } = getComputedStyle(this.canvas);
    const colours = { chosen: color, near: color, user: this.userColour ?? color };
    const user = this.marks.find(({ kind }) => kind === "user");
    const center = user ?? this.marks.find(({ kind }) => kind === "chosen");
    if (center) {
      const [fromX, fromY] = this.toScreen(center.x, center.y);
      context.strokeStyle = colours.near;
      context.globalAlpha = 0.6;
      context.lineWidth = 1.4;
      for (const { x, y, kind } of this.marks) {
        if (kind !== "near") continue;
        context.beginPath();
        context.moveTo(fromX, fromY);
        context.lineTo(...this.toScreen(x, y));
        context.stroke();
      }
      context.globalAlpha = 1;
      context.lineWidth = 1;
    }
    this.paintTrail(colours.user);
    for (const { x, y, kind, label } of this.marks) {
      if (kind === "past") continue;
      const [left, top] = this.toScreen(x, y);
      context.strokeStyle = colours[kind];
      context.fillStyle = colours[kind];
      context.beginPath();
      if (kind === "user") {
        const size = 10;
        context.moveTo(left, top - size); context.lineTo(left + size, top); context.lineTo(left, top + size); context.lineTo(left - size, top);
        context.closePath();
        context.fill();
        context.lineWidth = 2.5; context.strokeStyle = this.ground ?? "white"; context.stroke(); context.lineWidth = 1;
      } else {
        context.lineWidth = kind === "chosen" ? 3 : 1.6;
        context.arc(left, top, radius + (kind === "chosen" ? 5 : 3), 0, 2 * Math.PI);
        context.stroke();
      }
      if (label && kind !== "near") this.paintLabel(label, left, top - radius - 12);
    }
  }

  paintTrail(colour) {
    const { context } = this;
    const trail = this.marks.filter(({ kind }) => kind === "past" || kind === "user").map(({ x, y }) => this.toScreen(x, y));
    if (trail.length < 2) return;
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    trail.forEach(([left, top], n) => (n ? context.lineTo(left, top) : context.moveTo(left, top)));
    context.stroke();
    for (const [left, top] of trail) { context.beginPath(); context.arc(left, top, 3, 0, 2 * Math.PI); context.fill(); }
    context.lineWidth = 1;
  }

  paintLabel(label, left, top) {
    const { context } = this;
    context.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
    const half = context.measureText(label).width / 2 + 6;
    left = Math.min(Math.max(left, half), Math.max(half, this.width - half));
    top = Math.max(top, 18);
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeStyle = this.ground ?? "white";
    context.strokeText(label, left, top);
    context.fillStyle = getComputedStyle(this.canvas).color;
    context.fillText(label, left, top);
  }

  /* --- pointers and keys --------------------------------------------------------------------- */

  listen() {
    const { canvas } = this;
    const pointers = new Map();
    let travelled = 0, spread = 0;
    const spot = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, spot(event));
      travelled = 0;
      spread = 0;
      cancelAnimationFrame(this.gliding);
      canvas.classList.add("dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = spot(event);
      const before = pointers.get(event.pointerId);
      if (!before) { this.onHover(this.at(...now), ...now); return; }
      pointers.set(event.pointerId, now);
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()];
        const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (spread) this.zoom(apart / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        spread = apart;
        travelled = 99;
        return;
      }
      travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      this.pan(now[0] - before[0], now[1] - before[1]);
    });
    const up = (event) => {
      const was = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (!pointers.size) canvas.classList.remove("dragging");
      if (was && event.type === "pointerup" && travelled < 5) this.onChoose(this.at(...was));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => this.onHover(-1));
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(Math.exp(-event.deltaY * 0.0016), ...spot(event)); }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (moves[event.key]) this.pan(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1.35);
      else if (event.key === "-") this.zoom(1 / 1.35);
      else if (event.key === "0") this.fit();
      else if (event.key === "Enter") this.onChoose(this.nearestToMiddle());
      else return;
      event.preventDefault();
    });
  }

  nearestToMiddle() {
    let best = -1, least = Infinity;
    for (let place = 0; place < this.x.length; place += 1) {
      const distance = (this.x[place] - this.view.x) ** 2 + (this.y[place] - this.view.y) ** 2;
      if (distance < least) { least = distance; best = place; }
    }
    return best;
  }
}

/** Coverage of each pixel of a square by a dot, 0 to 255. */
function dot(radius) {
  const side = 2 * Math.ceil(radius) + 1, middle = (side - 1) / 2;
  const cover = new Uint8Array(side * side);
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      const inside = radius + 0.5 - Math.hypot(row - middle, column - middle);
      cover[row * side + column] = 222 * Math.min(1, Math.max(0, inside));
    }
  }
  return { side, cover };
}

/** A colour as the lower three bytes of a canvas pixel. */
function ink(colour) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return (blue << 16) | (green << 8) | red;
}

/** The resolved value of a colour token: a canvas does not support `light-dark()`. */
export function token(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** The minimum and maximum of some numbers. */
function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

function grid(x, y, side = 64) {
  const cells = new Map();
  const cell = (value) => Math.min(side - 1, Math.max(0, Math.floor(((value + 1) / 2) * side)));
  for (let place = 0; place < x.length; place += 1) {
    const key = cell(x[place]) * side + cell(y[place]);
    if (cells.has(key)) cells.get(key).push(place);
    else cells.set(key, [place]);
  }
  return { near(atX, atY, reach, visit) {
    for (let column = cell(atX - reach); column <= cell(atX + reach); column += 1) {
      for (let row = cell(atY - reach); row <= cell(atY + reach); row += 1) {
        for (const place of cells.get(column * side + row) ?? []) visit(place);
      }
    }
  } };
}
