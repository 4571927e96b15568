/* Loss and ndcg of each epoch, drawn while a model trains: the losses on one scale, ndcg on its own. */

import { ticks } from "../shared/axes.js";
import { h, put, svg } from "../shared/dom.js";

const PLOTS = [
  { title: "Loss (lower is better)", curves: [{ name: "loss", tone: "loss", title: "training loss" }, { name: "validation_loss", tone: "validation", title: "validation loss" }] },
  { title: "ndcg@10 (higher is better, at most 1)", curves: [{ name: "ndcg", tone: "ndcg", title: "validation ndcg@10" }] },
];
const WIDTH = 330, HEIGHT = 196, LEFT = 46, RIGHT = 14, TOP = 36, BOTTOM = 36;
const TERMS = [["loss", "loss"], ["epoch", "epoch"], ["validation", "validation"], ["ndcg-at-k", "ndcg@10"]];

export function chart() {
  const plots = PLOTS.map(({ title, curves }) => ({ title, curves, drawing: svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "No epoch yet" }), keys: h("p", { class: "curve-keys small" }) }));
  for (const plot of plots) plot.element = h("div", { class: "course-plot" }, plot.drawing, plot.keys);
  const note = h("p", { class: "quiet small" }, "What are ", TERMS.map(([slug, name], n) => [n ? ", " : "", h("a", { href: `#/glossary/${slug}` }, name)]), "?");
  const figure = h("figure", { class: "course-chart", hidden: true }, h("div", { class: "plots" }, plots.map(({ element }) => element)), note);
  let points = [], stage = "";

  const draw = () => {
    for (const plot of plots) {
      const curves = plot.curves.filter(({ name }) => points.some((point) => Number.isFinite(point[name])));
      plot.element.hidden = !curves.length;
      if (!curves.length) continue;
      const words = curves.map((curve) => [curve, inWords(curve, points)]);
      put(plot.drawing, axes(plot.title, curves, points), curves.map((curve) => line(curve, curves, points)));
      plot.drawing.setAttribute("aria-label", `By epoch: ${words.map(([, text]) => text).join(", ")}`);
      put(plot.keys, words.map(([{ tone }, text]) => h("span", { class: `key-${tone}` }, text)));
    }
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

/** Where an epoch is, and where a value is on the scale that all curves of a plot share. */
function scales(curves, points) {
  const epochs = Math.max(2, points.at(-1).epochs);
  const values = curves.flatMap(({ name }) => points.map((point) => point[name])).filter(Number.isFinite);
  const marks = ticks(Math.min(...values), Math.max(...values));
  const [low, high] = [marks[0].value, marks.at(-1).value];
  return {
    epochs, marks,
    x: (epoch) => LEFT + 8 + ((WIDTH - LEFT - RIGHT - 8) * (epoch - 1)) / (epochs - 1),
    y: (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - low)) / (high - low),
  };
}

function axes(title, curves, points) {
  const { epochs, marks, x, y } = scales(curves, points);
  const every = Math.ceil(epochs / 8);
  const shown = points.map(({ epoch }) => epoch).filter((epoch) => epoch === 1 || epoch % every === 0);
  return [
    svg("text", { x: 8, y: 15, class: "axis" }, title),
    marks.map(({ value, text }) => [
      svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "base" }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, class: "axis tick", "text-anchor": "end" }, text)]),
    shown.map((epoch) => svg("text", { x: x(epoch), y: HEIGHT - BOTTOM + 16, class: "axis", "text-anchor": "middle" }, String(epoch))),
    svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 4, class: "axis", "text-anchor": "end" }, "epoch"),
  ];
}

function line({ name, tone }, curves, points) {
  const { x, y } = scales(curves, points);
  const there = points.filter((point) => Number.isFinite(point[name]));
  const path = there.map((point, n) => `${n ? "L" : "M"}${x(point.epoch).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("");
  return [svg("path", { d: path, class: tone }), there.map((point) => svg("circle", { cx: x(point.epoch), cy: y(point[name]), r: 3.2, class: tone }))];
}

/** First and last value; of ndcg also the highest, whose weights are kept. */
function inWords({ name, title }, points) {
  const values = points.map((point) => point[name]).filter(Number.isFinite), highest = Math.max(...values);
  const best = name === "ndcg" && highest > values.at(-1) ? ` (highest: ${highest.toFixed(3)} after epoch ${points.find((point) => point[name] === highest).epoch})` : "";
  return `${title} ${values[0].toFixed(3)} → ${values.at(-1).toFixed(3)}${best}`;
}
