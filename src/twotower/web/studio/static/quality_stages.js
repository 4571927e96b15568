/* What each stage keeps: the index against exact search, the retriever as the ranker's ceiling, the
   ranker's lift. */

import * as api from "./api.js";
import { h, put, svg } from "./dom.js";
import { chance, fourth, milliseconds, plural, share } from "./format.js";
import { bars, facts, trouble } from "./pieces.js";

const KEPT = { tone: "item", show: share, label: "Share kept by stage" };

/** What the manifest says of the stages, and a button that measures them on this machine, now. */
export function stagesCard(found) {
  const holder = h("div", { class: "two wide" });
  const button = h("button", { class: "button", type: "button", style: { "justify-self": "start" } });
  const draw = (stages, when) => {
    put(holder, stages ? measured(stages, found.index, when, button) : unmeasured(found, button));
    button.textContent = stages ? "Measure again, here" : "Measure the ranker on held-out users";
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "measuring …";
    try {
      draw(await api.stages(), "now, on this machine");
      button.disabled = false;
      button.focus();
    } catch (error) { button.replaceWith(trouble(error)); }
  });
  draw(found.stages, "when the bundle was made");
  return holder;
}

const card = (tone, ...parts) => h("section", { class: `card panel${tone}`, "aria-label": "Stages" }, h("h2", {}, "What each stage keeps"), parts);
const searched = (index) => ["index finds of exact search", index.recall];

function unmeasured(found, button) {
  const kept = bars([searched(found.index)], KEPT);
  if (!found.has_ranker) return card(" wide", kept, h("p", { class: "quiet small" }, "This bundle has one stage, the towers: nothing is lost between retrieving and ranking."));
  return card(" wide", kept, h("p", { class: "quiet small" }, "The towers retrieve candidates, the ranker orders them anew. What it brings is measured on the rows that the bundle carries with it; that may take some seconds."), button);
}

function measured(stages, index, when, button) {
  const held = Object.entries(stages.ceiling ?? {}).filter(([name]) => name.startsWith("recall")).map(([name, value]) => [`candidates hold (${name})`, value]);
  const metric = `ndcg@${stages.k}`;
  const steps = [["towers alone", stages.retrieve?.[metric]], ["all stages", stages.pipeline?.[metric]], ["a ranker that knew", stages.ceiling?.[metric]]];
  const { interval = [], p_value: luck } = stages.lift ?? {};
  const spent = Object.entries(stages.milliseconds ?? {}).map(([stage, value]) => [`${stage}, a query`, milliseconds(value)]);
  return [
    card("", bars([searched(index), ...held], KEPT), h("h3", {}, metric), bars(steps, { show: fourth, label: `${metric} by stage` }),
      h("p", { class: "quiet small" }, `The ranker changes ${metric} by ${fourth(stages.lift?.[metric])} (${interval.map(fourth).join(" to ")}; p ${luck < 0.001 ? "" : "= "}${chance(luck ?? NaN)}).`),
      h("p", { class: "quiet small" }, `Measured ${when}, on ${plural(stages.num_queries, "held-out user")} and ${plural(stages.num_candidates, "candidate")} for each.`), button),
    h("section", { class: "card panel" }, h("h2", {}, "Are the probabilities right?"), reliability(stages.calibration?.reliability),
      facts([["expected calibration error", fourth(stages.calibration?.expected_calibration_error)], ["Brier score", fourth(stages.calibration?.brier_score)], ...spent])),
  ];
}

/** Predicted against observed; the diagonal is right. Both axes by square roots, as most are small. */
function reliability(data) {
  if (!data?.predicted?.length) return null;
  const wide = 320, high = 250, left = 56, low = high - 44, side = low - 12;
  const most = Math.max(...data.predicted, ...data.observed) || 1;
  const at = (value) => side * Math.sqrt(value / most);
  const points = data.predicted.map((value, n) => [left + at(value), low - at(data.observed[n])]);
  const axis = (x, y, text, more) => svg("text", { class: "axis", x, y, ...more }, text);
  const ticks = [0, most / 4, most].map((value) => [
    axis(left + at(value), low + 18, share(value), { "text-anchor": "middle" }), axis(left - 8, low - at(value) + 4, share(value), { "text-anchor": "end" }),
  ]);
  return h("figure", {}, svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": "Observed frequency against predicted probability", style: { "max-width": `${wide}px` } },
    svg("path", { d: `M${left} 8V${low}H${left + side + 4}`, fill: "none", stroke: "var(--line)", "stroke-width": 1.5 }),
    svg("path", { d: `M${left} ${low}L${left + side} ${low - side}`, stroke: "var(--line)", "stroke-width": 1.5, "stroke-dasharray": "4 4" }),
    ticks, axis(left + side / 2, high - 6, "predicted probability", { "text-anchor": "middle" }),
    svg("path", { d: `M${points.map((point) => point.map((n) => n.toFixed(1)).join(" ")).join("L")}`, fill: "none", stroke: "var(--rank)", "stroke-width": 2 }),
    points.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 3.4, fill: "var(--rank)" }))), h("figcaption", { class: "quiet small" }, "the observed share of hits, upwards; on the diagonal they agree"));
}
