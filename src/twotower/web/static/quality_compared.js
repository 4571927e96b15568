/* What each stage keeps, and how the bundle's model did beside others. */

import { h, put, svg } from "./dom.js";
import { count, milliseconds, share, words } from "./format.js";
import { bars, facts, segments } from "./pieces.js";

const fourth = (value) => (Number.isFinite(value) ? value.toFixed(4).replace("-", "−") : "–");

/* --- stages ----------------------------------------------------------------------------------- */

/** The index against exact search, the retriever as the ranker's ceiling, the ranker's lift. */
export function stagesCard(found) {
  const stages = found.stages;
  const kept = [["index finds of exact search", found.index.recall]];
  if (!stages) {
    return h("section", { class: "card panel wide" }, h("h2", {}, "What each stage keeps"), bars(kept, { tone: "item", show: share, label: "Share kept by stage" }),
      h("p", { class: "quiet small" }, "This bundle has one stage, the towers: nothing is lost between retrieving and ranking."));
  }
  for (const [name, value] of Object.entries(stages.ceiling ?? {})) if (name.startsWith("recall")) kept.push([`candidates hold (${name})`, value]);
  const metric = `ndcg@${stages.k}`;
  const steps = [["towers alone", stages.retrieve?.[metric]], ["all stages", stages.pipeline?.[metric]], ["a ranker that knew", stages.ceiling?.[metric]]];
  const { interval = [], p_value: chance } = stages.lift ?? {};
  return [
    h("section", { class: "card panel" }, h("h2", {}, "What each stage keeps"), bars(kept, { tone: "item", show: share, label: "Share kept by stage" }), h("h3", {}, metric), bars(steps, { show: fourth, label: `${metric} by stage` }),
      h("p", { class: "quiet small" }, `The ranker changes ${metric} by ${fourth(stages.lift?.[metric])} (${interval.map(fourth).join(" to ")}; p = ${Number(chance).toPrecision(2)}).`)),
    h("section", { class: "card panel" }, h("h2", {}, "Are the probabilities right?"), reliability(stages.calibration?.reliability),
      facts([["expected calibration error", fourth(stages.calibration?.expected_calibration_error)], ["Brier score", fourth(stages.calibration?.brier_score)],
        ...Object.entries(stages.milliseconds ?? {}).map(([stage, value]) => [`${stage}, a query`, milliseconds(value)])])),
  ];
}

/** Predicted against observed; the diagonal is right. Both axes by square roots, as most are small. */
function reliability(data) {
  if (!data?.predicted?.length) return null;
  const side = 240, high = Math.max(...data.predicted, ...data.observed) || 1;
  const at = (value) => 20 + (side - 40) * Math.sqrt(value / high);
  const points = data.predicted.map((value, n) => [at(value), side - at(data.observed[n])]);
  return h("figure", {}, svg("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", "aria-label": "Observed frequency against predicted probability", style: { "max-width": "280px" } },
    svg("path", { d: `M20 ${side - 20}L${side - 20} 20`, stroke: "var(--line)", "stroke-width": 1.5, "stroke-dasharray": "4 4" }),
    svg("path", { d: `M${points.map((point) => point.map((n) => n.toFixed(1)).join(" ")).join("L")}`, fill: "none", stroke: "var(--rank)", "stroke-width": 2 }),
    points.map(([x, y]) => svg("circle", { cx: x, cy: y, r: 3.4, fill: "var(--rank)" }))), h("figcaption", { class: "quiet small" }, "observed against predicted; on the diagonal they agree"));
}

/* --- other models ----------------------------------------------------------------------------- */

export function comparisonCard(comparison) {
  if (!comparison) {
    return h("section", { class: "card panel wide" }, h("h2", {}, "Compared with other models"), h("p", { class: "quiet" }, "No comparison was found beside this bundle. ", h("code", {}, "twotower compare CONFIG --out FOLDER"),
      " trains popularity, neighbours, matrix factorizations and the towers on one split, tuned alike, and says whether the towers are better beyond chance."));
  }
  const metrics = Object.keys(comparison.models[0].metrics);
  const plot = h("div");
  const draw = (metric) => put(plot, intervals(comparison.models.map((model) => ({ name: model.title, ...model.metrics[metric], own: model.family === "deep", reference: model.name === comparison.reference })), metric));
  draw(comparison.metric);
  return h("section", { class: "card panel wide" },
    h("header", {}, h("h2", {}, "Compared with other models"), h("span", { class: "quiet small" }, `${count(comparison.num_queries)} users, ${share(comparison.level)} intervals, from ${comparison.file}`)),
    h("p", {}, comparison.verdict), segments("Metric", metrics.map((name) => [name, name]), comparison.metric, draw), plot, table(comparison),
    comparison.failed?.length ? h("p", { class: "quiet small" }, comparison.failed.map(({ title, reason }) => `${title} failed: ${reason}`).join(" ")) : null);
}

/** A dot for the mean on a line for its interval. */
function intervals(rows, metric) {
  const high = Math.max(...rows.map((row) => row.high ?? row.mean ?? 0)) || 1;
  const at = (value) => `${((100 * (value ?? 0)) / high).toFixed(2)}%`;
  return h("ul", { class: "bars intervals", "aria-label": `${metric} with intervals` }, rows.map((row) => h("li", { class: "bar-row" },
    h("span", { class: "name", title: row.name }, row.name, row.reference ? h("span", { class: "quiet" }, " (reference)") : null),
    h("span", { class: "track", "aria-hidden": "true" },
      h("span", { class: "span", style: { left: at(row.low), width: at((row.high ?? 0) - (row.low ?? 0)) } }), h("span", { class: `dot${row.own ? " own" : ""}`, style: { left: at(row.mean) } })),
    h("span", { class: "number" }, fourth(row.mean), h("span", { class: "visually-hidden" }, ` (${fourth(row.low)} to ${fourth(row.high)})`)))));
}

function table(comparison) {
  const parts = ["warm", "cold_user", "cold_item", "both_cold"].filter((part) => comparison.models.some((model) => model.slices?.[part]));
  const heads = ["model", "difference", "p (Holm)", ...parts.map(words), "training", "memory", "answer p50"];
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Models in figures" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((name) => h("th", {}, name)))),
    h("tbody", {}, comparison.models.map((model) => {
      const test = model.tests?.all;
      return h("tr", {}, h("th", { scope: "row", title: model.about }, model.title), h("td", {}, test ? `${test.difference > 0 ? "+" : ""}${fourth(test.difference)}` : "reference"),
        h("td", {}, test ? `${test.p_holm.toFixed(3)}${test.significant ? "" : " ns"}` : ""), parts.map((part) => h("td", {}, fourth(model.slices?.[part]?.[comparison.metric]?.mean))),
        h("td", {}, `${model.train_seconds.toFixed(1)} s`), h("td", {}, `${count(Math.round(model.memory_mb))} MB`), h("td", {}, milliseconds(model.milliseconds.p50)));
    }))));
}
