/* Loss and ndcg of each epoch, drawn while a model trains: two losses on one scale, else each curve on
   its own. */

import { h, put, svg } from "../shared/dom.js";

const CURVES = [
  { name: "loss", tone: "loss", title: "training loss" },
  { name: "validation_loss", tone: "ndcg", title: "validation loss" },
  { name: "ndcg", tone: "ndcg", title: "validation ndcg@10" },
];
const WIDTH = 600, HEIGHT = 170, LEFT = 20, RIGHT = 20, TOP = 14, BOTTOM = 24;

export function chart() {
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "No epoch yet" });
  const legend = h("p", { class: "curve-keys small" });
  const figure = h("figure", { class: "course-chart", hidden: true }, drawing, legend);
  let points = [], stage = "";

  /* Two towers keep the weights of the epoch with the highest figure. */
  const best = () => {
    const values = points.map(({ ndcg }) => ndcg), highest = Math.max(...values);
    return highest > values.at(-1) ? ` (highest: ${highest.toFixed(3)} after epoch ${points[values.indexOf(highest)].epoch})` : "";
  };
  const draw = () => {
    const epochs = points.at(-1)?.epochs ?? 1;
    const x = (epoch) => LEFT + ((WIDTH - LEFT - RIGHT) * (epoch - 1)) / Math.max(1, epochs - 1);
    const series = CURVES.filter(({ name }) => points.some((point) => Number.isFinite(point[name])));
    // With two losses, ndcg would be a third curve: it is in words below.
    const drawn = series.length > 2 ? series.filter(({ name }) => name !== "ndcg") : series;
    const together = drawn.some(({ name }) => name === "validation_loss");
    const all = drawn.flatMap(({ name }) => points.map((point) => point[name]));
    const curve = ({ name, tone }) => {
      const values = together ? all : points.map((point) => point[name]);
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - low)) / span;
      const path = points.map((point, n) => `${n ? "L" : "M"}${x(point.epoch).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("");
      return [svg("path", { d: path, class: tone }), points.map((point) => svg("circle", { cx: x(point.epoch), cy: y(point[name]), r: 3.5, class: tone }))];
    };
    const ticks = points.map(({ epoch }) => epoch).filter((epoch) => epochs <= 12 || epoch % 5 === 0 || epoch === 1);
    put(drawing, svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, class: "base" }),
      ticks.map((epoch) => svg("text", { x: x(epoch), y: HEIGHT - 6, class: "axis", "text-anchor": "middle" }, String(epoch))), drawn.map(curve));
    const words = series.map(({ name, title }) => [name, `${title} ${points[0][name].toFixed(3)} → ${points.at(-1)[name].toFixed(3)}${name === "ndcg" ? best() : ""}`]);
    drawing.setAttribute("aria-label", `By epoch: ${words.map(([, text]) => text).join(", ")}`);
    put(legend, words.map(([name, text]) => h("span", { class: drawn.some((one) => one.name === name) ? `key-${series.find((one) => one.name === name).tone}` : "quiet" }, text)),
      h("span", { class: "quiet" }, `epoch ${points.at(-1).epoch}${together ? "; both curves have one scale" : "; each curve has its own scale: where they cross says nothing"}. What are `, h("a", { href: "#/glossary/loss" }, "loss"), ", ", h("a", { href: "#/glossary/epoch" }, "epoch"), ", ", h("a", { href: "#/glossary/validation" }, "validation"), ", ", h("a", { href: "#/glossary/ndcg-at-k" }, "ndcg@10"), "?"));
  };

  return {
    figure,
    points: () => points,
    show(kept) { for (const point of kept) this.add(point); },
    clear() { points = []; figure.hidden = true; },
    add(progress) {
      if (!Number.isFinite(progress.loss)) return;
      if (progress.stage !== stage) { stage = progress.stage; points = []; }
      points.push(progress);
      figure.hidden = false;
      draw();
    },
  };
}
