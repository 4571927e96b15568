/* What each stage keeps, and how the bundle's model did beside others. */

import * as api from "./api.js";
import { h, put, svg } from "./dom.js";
import { count, milliseconds, share, words } from "./format.js";
import { bars, facts, select, trouble } from "./pieces.js";

const chance = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));
const fourth = (value) => (Number.isFinite(value) ? value.toFixed(4).replace("-", "−") : "–");

/* --- stages ----------------------------------------------------------------------------------- */

/** The index against exact search, the retriever as the ranker's ceiling, the ranker's lift. */
export function stagesCard(found) {
  const kept = [["index finds of exact search", found.index.recall]];
  const card = (...more) => h("section", { class: "card panel wide", "aria-label": "Stages" }, h("h2", {}, "What each stage keeps"), bars(kept, { tone: "item", show: share, label: "Share kept by stage" }), more);
  if (!found.has_ranker) return card(h("p", { class: "quiet small" }, "This bundle has one stage, the towers: nothing is lost between retrieving and ranking."));
  const button = h("button", { class: "button", type: "button", style: { "justify-self": "start" } }, "Measure the ranker on held-out users");
  const element = card(h("p", { class: "quiet small" }, "The towers retrieve candidates, the ranker orders them anew. What it brings is measured on the rows that the bundle carries with it; that may take some seconds."), button);
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "measuring …";
    try { element.replaceWith(...measured(await api.stages(), kept)); } catch (error) { button.replaceWith(trouble(error)); }
  });
  return element;
}

function measured(stages, kept) {
  for (const [name, value] of Object.entries(stages.ceiling ?? {})) if (name.startsWith("recall")) kept.push([`candidates hold (${name})`, value]);
  const metric = `ndcg@${stages.k}`;
  const steps = [["towers alone", stages.retrieve?.[metric]], ["all stages", stages.pipeline?.[metric]], ["a ranker that knew", stages.ceiling?.[metric]]];
  const { interval = [], p_value: luck } = stages.lift ?? {};
  return [
    h("section", { class: "card panel", "aria-label": "Stages" }, h("h2", {}, "What each stage keeps"), bars(kept, { tone: "item", show: share, label: "Share kept by stage" }), h("h3", {}, metric), bars(steps, { show: fourth, label: `${metric} by stage` }),
      h("p", { class: "quiet small" }, `The ranker changes ${metric} by ${fourth(stages.lift?.[metric])} (${interval.map(fourth).join(" to ")}; p ${luck < 0.001 ? "" : "= "}${chance(luck ?? NaN)}).`)),
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
  const views = comparisonViews(comparison);
  const plot = h("div");
  const draw = (place) => put(plot, intervals(views[place].rows, views[place].title));
  const first = Math.max(0, views.findIndex(({ title }) => title === comparison.metric));
  draw(first);
  return h("section", { class: "card panel wide" },
    h("header", {}, h("h2", {}, "Compared with other models"), h("span", { class: "quiet small" }, `${count(comparison.num_queries)} users, ${Math.round(100 * comparison.level)}% intervals, from ${comparison.file}`)),
    h("p", {}, comparison.verdict), select("Show", views.map(({ title }, place) => [String(place), title]), String(first), (place) => draw(Number(place))), plot,
    h("div", { class: "beside" }, price(comparison), table(comparison)),
    comparison.failed?.length ? h("p", { class: "quiet small" }, comparison.failed.map(({ title, reason }) => `${title} failed: ${reason}`).join(" ")) : null);
}

/** What can be looked at: each metric over all users, two by slice, recall by how popular items are. */
function comparisonViews(comparison) {
  const { models, metric, buckets = [] } = comparison;
  const rows = (pick) => models.map((model) => ({ name: model.title, ...pick(model), own: model.name === "two_tower", reference: model.name === comparison.reference }));
  const views = Object.keys(models[0].metrics).map((name) => ({ title: name, rows: rows((model) => model.metrics[name]) }));
  for (const part of ["warm", "cold_user", "cold_item", "both_cold"]) {
    if (models.some((model) => model.slices?.[part])) views.push({ title: `${metric}, ${words(part)}`, rows: rows((model) => model.slices?.[part]?.[metric] ?? {}) });
  }
  buckets.forEach((bucket, place) => views.push({
    title: `recall@${comparison.k}, items taken ${bucket.fewest === bucket.most ? bucket.most : `${bucket.fewest} to ${bucket.most}`} times`,
    rows: rows((model) => model.buckets?.[place] ?? {}),
  }));
  return views;
}

/** Accuracy against the time of an answer. */
function price(comparison) {
  const wide = 460, high = 300, edge = 44;
  const models = comparison.models.map((model) => ({ title: model.title, own: model.name === "two_tower", x: Math.log10(Math.max(model.milliseconds.p50, 1e-3)), y: model.metrics[comparison.metric].mean ?? 0 }));
  const xs = models.map(({ x }) => x), top = Math.max(...models.map(({ y }) => y)) || 1;
  const low = Math.min(...xs) - 0.12, span = Math.max(...xs) + 0.12 - low || 1;
  const at = ({ x, y }) => [edge + ((wide - edge - 20) * (x - low)) / span, high - edge - (high - edge - 24) * (y / top)];
  return h("figure", {}, svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${comparison.metric} against the median time of an answer` },
    svg("path", { d: `M${edge} 10V${high - edge}H${wide - 10}`, fill: "none", stroke: "var(--line)", "stroke-width": 1.5 }),
    svg("text", { x: edge, y: high - 14, class: "axis" }, `median time of an answer, ${milliseconds(10 ** low)} to ${milliseconds(10 ** (low + span))}, by logarithm`),
    svg("text", { x: 14, y: high - edge, class: "axis", transform: `rotate(-90 14 ${high - edge})` }, `${comparison.metric}, 0 to ${fourth(top)}`),
    models.map((model) => { const [x, y] = at(model); return svg("g", {}, svg("circle", { cx: x, cy: y, r: model.own ? 6.5 : 5, fill: model.own ? "var(--query)" : "var(--edge)" }), svg("text", { x: x > 0.7 * wide ? x - 9 : x + 9, y: y + 4, class: "mark", "text-anchor": x > 0.7 * wide ? "end" : "start" }, model.title)); })),
  h("figcaption", { class: "quiet small" }, "Up is more accurate, left is faster."));
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
        h("td", {}, test ? `${chance(test.p_holm)}${test.significant ? "" : " ns"}` : ""), parts.map((part) => h("td", {}, fourth(model.slices?.[part]?.[comparison.metric]?.mean))),
        h("td", {}, `${model.train_seconds.toFixed(1)} s`), h("td", {}, `${count(Math.round(model.memory_mb))} MB`), h("td", {}, milliseconds(model.milliseconds.p50)));
    }))));
}
