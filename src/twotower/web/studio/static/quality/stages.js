/* Quality by stage: recall of the index, recall of the candidates (the ranker's ceiling), and the
   ranker's lift. */

import * as api from "../shared/api.js";
import { h, put, svg } from "../shared/dom.js";
import { count, fourth, milliseconds, plural, pValue, share } from "../shared/format.js";
import { bars, facts, trouble } from "../shared/components.js";

const KEPT = { tone: "item", show: share, label: "Recall by stage" };

/** The stage metrics in the manifest, and a button to measure them on this server. */
export function stagesCard(found) {
  const holder = h("div", { class: "two wide" });
  const button = h("button", { class: "button", type: "button", style: { "justify-self": "start" } });
  const draw = (stages, when) => {
    put(holder, stages ? measured(stages, found, when, button) : unmeasured(found, button));
    button.textContent = stages ? "Measure again on this server" : "Measure on held-out users";
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "measuring …";
    try {
      draw(await api.stages(), "just now on this server");
      button.disabled = false;
      button.focus();
    } catch (error) { button.replaceWith(trouble(error)); }
  });
  draw(found.stages, "when the bundle was built");
  return holder;
}

const card = (tone, ...parts) => h("section", { class: `card panel${tone}`, "aria-label": "Stages" }, h("h2", {}, "Quality by stage"), parts);
/** What the search loses; nothing to tell of an exact one. */
const searched = ({ kind, recall }) => (kind === "exact" ? [] : [[`${kind} index, against exact search`, recall]]);

function unmeasured(found, button) {
  const { index } = found;
  const kept = index.kind === "exact" ? h("p", { class: "quiet small" }, "The index is exact: the search finds the items with the highest scores.") : bars(searched(index), KEPT);
  if (!found.has_ranker) return card(" wide", kept, h("p", { class: "quiet small" }, `This bundle has no ranker: the scores of the ${found.blend ? "blend" : "two towers"} determine the order.`));
  return card(" wide", kept, h("p", { class: "quiet small" }, "The towers retrieve candidates and the ranker reorders them. The lift can be measured on the held-out rows in the bundle, which may take several seconds."), button);
}

function measured(stages, { index, evaluation }, when, button) {
  const held = Object.entries(stages.ceiling ?? {}).filter(([name]) => name.startsWith("recall")).map(([name, value]) => [`candidates (${name})`, value]);
  const metric = `ndcg@${stages.k}`;
  const steps = [["without the ranker", stages.retrieve?.[metric]], ["with the ranker", stages.pipeline?.[metric]], ["perfect ranker", stages.ceiling?.[metric]]];
  const sample = evaluation && stages.num_queries < evaluation.num_queries
    ? ` They are a random sample of the ${count(evaluation.num_queries)} test users, so ${metric} differs from the figure at the top of this page.` : "";
  const { interval = [], p_value: p } = stages.lift ?? {};
  const spent = Object.entries(stages.milliseconds ?? {}).map(([stage, value]) => [`${stage}, per query`, milliseconds(value)]);
  return [
    card("", bars([...searched(index), ...held], KEPT), h("h3", {}, metric), bars(steps, { show: fourth, label: `${metric} by stage` }),
      h("p", { class: "quiet small" }, `The ranker changes ${metric} by ${fourth(stages.lift?.[metric])} (${interval.map(fourth).join(" to ")}; p ${p < 0.001 ? "" : "= "}${pValue(p ?? NaN)}).`),
      h("p", { class: "quiet small" }, `Measured ${when}, on ${plural(stages.num_queries, "held-out user")} with ${plural(stages.num_candidates, "candidate")} each.${sample}`), button),
    h("section", { class: "card panel" }, h("h2", {}, "Calibration of the probabilities"), reliability(stages.calibration?.reliability),
      facts([["expected calibration error", fourth(stages.calibration?.expected_calibration_error)], ["Brier score", fourth(stages.calibration?.brier_score)], ...spent])),
  ];
}

/** Reliability diagram. Both axes use a square-root scale, since most probabilities are small. */
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
    points.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 3.4, fill: "var(--rank)" }))), h("figcaption", { class: "quiet small" }, "Vertical axis: observed frequency. Both axes have a square-root scale. Perfectly calibrated probabilities lie on the diagonal."));
}
