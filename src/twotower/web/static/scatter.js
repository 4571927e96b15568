/* Points on a canvas: pan, zoom, hover, choose; by mouse, by touch and by keyboard.

   Each colour is drawn once as a small picture and stamped, which keeps 20,000 points smooth. */

const MARGIN = 0.09;
const REACH = 14; // pixels around the pointer in which a point is found

export class Scatter {
  /** `onHover(place, x, y)` and `onChoose(place)` get the place of a point, or -1. */
  constructor(canvas, { onHover, onChoose }) {
    Object.assign(this, { canvas, onHover, onChoose });
    this.context = canvas.getContext("2d");
    this.x = this.y = [];
    this.colour = null;
    this.palette = [];
    this.faded = null;
    this.marks = [];
    this.view = { scale: 1, x: 0, y: 0 };
    this.frame = 0;
    this.sprites = new Map();
    this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
  }

  points(x, y) {
    Object.assign(this, { x, y });
    this.bins = null;
    this.draw();
  }

  /** `colour[place]` is a place in `palette`. */
  colours(colour, palette) {
    Object.assign(this, { colour, palette });
    this.sprites.clear();
    this.draw();
  }

  /** Marks are {x, y, kind, label}; kinds are "chosen", "near", "user". */
  mark(marks) {
    this.marks = marks;
    this.draw();
  }

  /** A set of places to draw strongly, or null for all. */
  fade(kept) {
    this.faded = kept;
    this.draw();
  }

  end() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    Object.assign(this, { ratio, width, height });
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.sprites.clear();
    this.draw();
  }

  /* --- where things are ---------------------------------------------------------------------- */

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
    this.view.scale = Math.min(60, Math.max(0.6, this.view.scale * factor));
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
    this.glide({ scale: 1, x: 0, y: 0 });
  }

  lookAt(x, y, scale = Math.max(this.view.scale, 2.4)) {
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

  /** The place of the nearest point to a spot of the screen, -1 if none is near. Points are kept in
      a grid of the plane, so that only a few are looked at. */
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
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const radius = Math.min(7, Math.max(1.7, (this.x.length > 4000 ? 2.1 : 3.4) * Math.sqrt(this.view.scale)));
    const drawAll = (wanted) => {
      for (let place = 0; place < this.x.length; place += 1) {
        if (this.faded && this.faded.has(place) !== wanted) continue;
        const [left, top] = this.toScreen(this.x[place], this.y[place]);
        if (left < -9 || top < -9 || left > width + 9 || top > height + 9) continue;
        const sprite = this.sprite(this.colour ? this.colour[place] : 0, radius);
        context.drawImage(sprite, left - sprite.width / 2 / ratio, top - sprite.height / 2 / ratio, sprite.width / ratio, sprite.height / ratio);
      }
    };
    if (this.faded) { context.globalAlpha = 0.16; drawAll(false); context.globalAlpha = 1; }
    drawAll(true);
    this.paintMarks(radius);
  }

  sprite(code, radius) {
    const key = `${code}/${radius.toFixed(1)}`;
    let sprite = this.sprites.get(key);
    if (!sprite) {
      if (this.sprites.size > 400) this.sprites.clear();
      sprite = document.createElement("canvas");
      const side = Math.ceil((2 * radius + 2) * this.ratio);
      sprite.width = sprite.height = side;
      const context = sprite.getContext("2d");
      context.fillStyle = this.palette[code] ?? this.palette[0] ?? "gray";
      context.globalAlpha = 0.86;
      context.beginPath();
      context.arc(side / 2, side / 2, radius * this.ratio, 0, 2 * Math.PI);
      context.fill();
      this.sprites.set(key, sprite);
    }
    return sprite;
  }

  paintMarks(radius) {
    const { context } = this;
    const { color } = getComputedStyle(this.canvas);
    const colours = { chosen: color, near: color, user: this.userColour ?? color };
    const user = this.marks.find(({ kind }) => kind === "user");
    const center = user ?? this.marks.find(({ kind }) => kind === "chosen");
    context.lineWidth = 1;
    if (center) {
      const [fromX, fromY] = this.toScreen(center.x, center.y);
      context.strokeStyle = colours.near;
      context.globalAlpha = 0.35;
      for (const { x, y, kind } of this.marks) {
        if (kind !== "near") continue;
        context.beginPath();
        context.moveTo(fromX, fromY);
        context.lineTo(...this.toScreen(x, y));
        context.stroke();
      }
      context.globalAlpha = 1;
    }
    for (const { x, y, kind, label } of this.marks) {
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

  paintLabel(label, left, top) {
    const { context } = this;
    context.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
    context.textAlign = "center";
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

/** A colour token as the page's theme resolves it: canvas does not know `light-dark()`. */
export function token(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
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
