/* Covers: the item's image, or a drawing derived from its place on the map, so that similar items
   look alike. */

import { picture } from "./api.js";
import { h, svg } from "./dom.js";

/** The cover of an item; decorative, since its name is always next to it. */
export function cover(info) {
  const box = h("span", { class: "cover", "aria-hidden": "true" });
  box.append(drawn(info));
  if (info.picture) show(box, info);
  return box;
}

async function show(box, info) {
  try {
    const image = h("img", { alt: "", loading: "lazy", src: await picture(info.item_id) });
    image.addEventListener("error", () => image.replaceWith(drawn(info)), { once: true });
    box.replaceChildren(image);
  } catch {
    /* The drawing stays. */
  }
}

function drawn(info) {
  const random = generator(String(info.item_id));
  const [x, y] = info.place ?? [random() - 0.5, random() - 0.5];
  const hue = (Math.atan2(y, x) * 180) / Math.PI + 180;
  const far = Math.min(1, Math.hypot(x, y) * 1.4);
  const tone = (light, chroma, turn = 0) => `oklch(${light} ${(chroma * (0.35 + 0.65 * far)).toFixed(3)} ${((hue + turn) % 360).toFixed(1)})`;
  const ground = svg("rect", { width: 120, height: 160, fill: tone(0.9, 0.06) });
  const shapes = SHAPES[Math.floor(random() * SHAPES.length)](random, tone);
  return svg("svg", { viewBox: "0 0 120 160", preserveAspectRatio: "xMidYMid slice" }, ground, shapes);
}

const SHAPES = [
  /* A sun over hills. */
  (random, tone) => {
    const level = 88 + 24 * random();
    const wave = (base, height, phase) => {
      const at = (place) => (base + height * Math.sin(phase + place / 19)).toFixed(1);
      const ends = Array.from({ length: 13 }, (_, n) => `L${n * 10} ${at(n * 10)}`).join(" ");
      return `M0 160 ${ends} L120 160z`;
    };
    return [
      svg("circle", { cx: 30 + 60 * random(), cy: 40 + 26 * random(), r: 15 + 12 * random(), fill: tone(0.84, 0.11, 40) }),
      svg("path", { d: wave(level, 9, 6 * random()), fill: tone(0.7, 0.12) }),
      svg("path", { d: wave(level + 20, 8, 6 * random()), fill: tone(0.55, 0.13, 12) }),
      svg("path", { d: wave(level + 42, 7, 6 * random()), fill: tone(0.38, 0.11, 24) }),
    ];
  },
  /* Towers. */
  (random, tone) => Array.from({ length: 5 }, (_, n) => {
    const height = 40 + 90 * random();
    return svg("path", { d: `M${8 + 21 * n} 160V${(160 - height).toFixed(1)}l9 -11 9 11V160z`, fill: tone(0.42 + 0.34 * random(), 0.13, 22 * random()) });
  }),
  /* Rings. */
  (random, tone) => {
    const cx = 25 + 70 * random(), cy = 35 + 90 * random();
    return Array.from({ length: 6 }, (_, n) => svg("circle", { cx, cy, r: 96 - 15 * n, fill: tone(0.84 - 0.085 * n, 0.08 + 0.014 * n, 7 * n) }));
  },
  /* Sails. */
  (random, tone) => Array.from({ length: 4 }, (_, n) => {
    const x = 120 * random(), y = 30 + 26 * n;
    return svg("path", { d: `M${(x - 74).toFixed(1)} 170V${y + 74}Q${x.toFixed(1)} ${(y - 34).toFixed(1)} ${(x + 74).toFixed(1)} ${y + 74}V170z`, fill: tone(0.78 - 0.12 * n, 0.12, 10 * n) });
  }),
  /* Tiles. */
  (random, tone) => Array.from({ length: 12 }, (_, n) => {
    const x = (n % 3) * 40, y = Math.floor(n / 3) * 40;
    const corner = [`M${x} ${y}h40a40 40 0 0 1-40 40z`, `M${x + 40} ${y}v40a40 40 0 0 1-40-40z`, `M${x + 40} ${y + 40}h-40a40 40 0 0 1 40-40z`, `M${x} ${y + 40}v-40a40 40 0 0 1 40 40z`];
    return svg("path", { d: corner[Math.floor(4 * random())], fill: tone(0.45 + 0.35 * random(), 0.13, 30 * random()) });
  }),
];

/** A generator of numbers in [0, 1) seeded with a text. */
function generator(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  return () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9 | 0;
    const mixed = Math.imul(state ^ (state >>> 13), 3266489917);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 4294967296;
  };
}
