/* Training of the bundle: loss and validation metric by epoch, as charts and tables. */

import { ticks } from "../shared/axes.js";
import { h, svg } from "../shared/dom.js";
import { count, fourth, plural } from "../shared/format.js";

const NAMES = { retriever: "Two towers", ranker: "Ranker" };
const ENDS = {
  patience: "Stopped early because the validation metric no longer improved.",
  epochs: "Trained for the configured number of epochs.",
  interrupted: "Interrupted.",
};

/** A card, or null if the bundle has no training record. */
export function trainingCard(curves) {
  const runs = Object.entries(curves).filter(([, run]) => run.epochs?.length);
  if (!runs.length) return null;
  return h("section", { class: "card panel wide", "aria-label": "Training" }, h("h2", {}, "Training"), runs.map(([stage, run]) => training(stage, run)));
}

function training(stage, run) {
  const name = NAMES[stage] ?? stage;
  const kept = run.metric ? ` The weights are from epoch ${run.best_epoch}, which has the best validation ${run.metric}. It is measured with ${stage === "retriever" ? "the towers alone" : "both stages"}, on other rows than the test part.` : " There was no validation part, so the weights are from the last epoch.";
  const figures = [["loss", "var(--query)"], ...(run.metric ? [[run.metric, "var(--item)"]] : [])];
  return h("div", { class: "run" }, h("h3", {}, name),
    h("p", { class: "quiet small" }, `${plural(run.epochs.length, "epoch")} in ${run.seconds.toFixed(1)} s. ${ENDS[run.stopped] ?? ""}${kept}`),
    h("div", { class: "curves" }, figures.map(([figure, colour]) => curve(name, figure, colour, run))),
    inFigures(name, figures.map(([figure]) => figure), run.epochs));
}

/** A line chart of a metric by epoch; a ring marks the epoch whose weights are used. */
function curve(name, figure, colour, run) {
  const points = run.epochs.filter((entry) => Number.isFinite(entry[figure])).map((entry) => [entry.epoch, entry[figure]]);
  if (!points.length) return null;
  const wide = 460, high = 190, left = 66, low = high - 30;
  const last = Math.max(run.epochs.at(-1).epoch, 2), values = points.map(([, value]) => value);
  const marks = ticks(Math.min(...values), Math.max(...values));
  const [bottom, top] = [marks[0].value, marks.at(-1).value];
  const x = (epoch) => left + ((wide - left - 14) * (epoch - 1)) / (last - 1);
  const y = (value) => low - 6 - ((low - 38) * (value - bottom)) / (top - bottom);
  const kept = points.find(([epoch]) => epoch === run.best_epoch);
  const axis = (at, text, more) => svg("text", { class: "axis", x: at[0], y: at[1], ...more }, text);
  return h("figure", {}, svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": inWords(name, figure, points, kept) },
    svg("path", { d: `M${left} 26V${low}H${wide - 8}`, fill: "none", stroke: "var(--line)", "stroke-width": 1.5 }),
    axis([8, 16], `${figure} (${figure === "loss" ? "lower" : "higher"} is better)`),
    marks.map(({ value, text }) => [svg("line", { x1: left, x2: wide - 8, y1: y(value), y2: y(value), stroke: "var(--line)", "stroke-width": 1 }), axis([left - 8, y(value) + 4], text, { class: "axis tick", "text-anchor": "end" })]),
    axis([left, high - 10], "epoch 1"), axis([wide - 8, high - 10], String(last), { "text-anchor": "end" }),
    svg("path", { d: `M${points.map(([epoch, value]) => `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" }),
    kept ? svg("circle", { cx: x(kept[0]), cy: y(kept[1]), r: 5, fill: "var(--card)", stroke: colour, "stroke-width": 2.5 }) : null),
  h("figcaption", { class: "small" }, figure, h("span", { class: "quiet" }, figure === "loss" ? ", training" : ", validation")));
}

function inWords(name, figure, points, kept) {
  const [first, last] = [points[0], points.at(-1)];
  const best = kept ? `, ${fourth(kept[1])} in epoch ${kept[0]}, the best` : "";
  return `${name}, ${figure} by epoch: ${fourth(first[1])} in epoch ${first[0]}, ${fourth(last[1])} in epoch ${last[0]}${best}.`;
}

function inFigures(name, figures, epochs) {
  return h("details", {}, h("summary", { class: "small" }, "Table"), h("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": `${name}: metrics by epoch` },
    h("table", {}, h("thead", {}, h("tr", {}, ["epoch", ...figures, "seconds"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, epochs.map((entry) => h("tr", {}, h("th", { scope: "row" }, count(entry.epoch)), figures.map((figure) => h("td", {}, fourth(entry[figure]))), h("td", {}, entry.seconds.toFixed(1))))))));
}
