/* The comparison of the bundle's model with other models. */

import { h, put, svg } from "../shared/dom.js";
import { count, fourth, milliseconds, pValue, words } from "../shared/format.js";
import { select } from "../shared/components.js";

/* --- other models ----------------------------------------------------------------------------- */

export function comparisonCard(comparison) {
  if (!comparison) {
    return h("section", { class: "card panel wide" }, h("h2", {}, "Comparison with other models"), h("p", { class: "quiet" }, "No comparison was found next to this bundle. Run ", h("code", {}, "twotower compare CONFIG --out FOLDER"),
      " to train popularity, nearest-neighbour, matrix factorization and two-tower models on one split with the same tuning budget, and to test whether the two-tower is significantly better."));
  }
  const views = comparisonViews(comparison);
  const plot = h("div");
  const draw = (place) => put(plot, intervals(views[place].rows, views[place].title));
  const first = Math.max(0, views.findIndex(({ title }) => title === comparison.metric));
  draw(first);
  return h("section", { class: "card panel wide" },
    h("header", {}, h("h2", {}, "Comparison with other models"), h("span", { class: "quiet small" }, `${count(comparison.num_queries)} users, ${Math.round(100 * comparison.level)}% confidence intervals, from ${comparison.file}`)),
    h("p", {}, comparison.verdict), select("Show", views.map(({ title }, place) => [String(place), title]), String(first), (place) => draw(Number(place))), plot,
    h("div", { class: "beside" }, price(comparison), table(comparison)),
    comparison.failed?.length ? h("p", { class: "quiet small" }, comparison.failed.map(({ title, reason }) => `${title} failed: ${reason}`).join(" ")) : null);
}

/** The available views: each metric over all users, by slice, and recall by item popularity. */
function comparisonViews(comparison) {
  const { models, metric, buckets = [] } = comparison;
  const rows = (pick) => models.map((model) => ({ name: model.title, ...pick(model), own: model.name === "two_tower", reference: model.name === comparison.reference }));
  const views = Object.keys(models[0].metrics).map((name) => ({ title: name, rows: rows((model) => model.metrics[name]) }));
  for (const part of ["warm", "cold_user", "cold_item", "both_cold"]) {
    if (models.some((model) => model.slices?.[part])) views.push({ title: `${metric}, ${words(part)}`, rows: rows((model) => model.slices?.[part]?.[metric] ?? {}) });
  }
  buckets.forEach((bucket, place) => views.push({
    title: `recall@${comparison.k}, items with ${bucket.fewest === bucket.most ? bucket.most : `${bucket.fewest} to ${bucket.most}`} interactions`,
    rows: rows((model) => model.buckets?.[place] ?? {}),
  }));
  return views;
}

/** Accuracy against latency. */
function price(comparison) {
  const wide = 460, high = 300, edge = 52;
  const models = comparison.models.map((model) => ({ title: model.title, own: model.name === "two_tower", x: Math.log10(Math.max(model.milliseconds.p50, 1e-3)), y: model.metrics[comparison.metric].mean ?? 0 }));
  const xs = models.map(({ x }) => x), top = Math.max(...models.map(({ y }) => y)) || 1;
  const low = Math.min(...xs) - 0.12, span = Math.max(...xs) + 0.12 - low || 1;
  const at = ({ x, y }) => [edge + ((wide - edge - 20) * (x - low)) / span, high - edge - (high - edge - 24) * (y / top)];
  return h("figure", {}, svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${comparison.metric} against median latency` },
    svg("path", { d: `M${edge} 10V${high - edge}H${wide - 10}`, fill: "none", stroke: "var(--line)", "stroke-width": 1.5 }),
    decades(low, low + span).map((x) => svg("text", { x: at({ x, y: 0 })[0], y: high - edge + 18, class: "axis", "text-anchor": "middle" }, milliseconds(10 ** x))),
    [0, top / 2, top].map((y) => svg("text", { x: edge - 8, y: at({ x: low, y })[1] + 4, class: "axis", "text-anchor": "end" }, y.toFixed(3))),
    svg("text", { x: edge, y: high - 4, class: "axis" }, "median latency (log scale)"),
    svg("text", { x: edge + 6, y: 12, class: "axis" }, comparison.metric),
    models.map((model) => { const [x, y] = at(model); return svg("g", {}, svg("circle", { cx: x, cy: y, r: model.own ? 6.5 : 5, fill: model.own ? "var(--query)" : "var(--edge)" }), svg("text", { x: x > 0.7 * wide ? x - 9 : x + 9, y: y + 4, class: "mark", "text-anchor": x > 0.7 * wide ? "end" : "start" }, model.title)); })),
  h("figcaption", { class: "quiet small" }, "Higher is more accurate, further left is faster."));
}

/** Ticks of a logarithmic axis, as logarithms: powers of ten, on a short axis also 2 and 5 times these. */
function decades(low, high) {
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, n) => Math.floor(low) + n);
  return powers.flatMap((power) => (high - low > 1.2 ? [1] : [1, 2, 5]).map((step) => power + Math.log10(step))).filter((tick) => tick >= low && tick <= high);
}

/** A dot for the mean on a line for its confidence interval. */
function intervals(rows, metric) {
  const high = Math.max(...rows.map((row) => row.high ?? row.mean ?? 0)) || 1;
  const at = (value) => `${((100 * (value ?? 0)) / high).toFixed(2)}%`;
  const scale = h("div", { class: "bars", "aria-hidden": "true" }, h("div", { class: "bar-row quiet" }, h("span"), h("span", { class: "between" }, h("span", {}, "0"), h("span", {}, fourth(high))), h("span")));
  return [h("ul", { class: "bars intervals", "aria-label": `${metric} with intervals` }, rows.map((row) => h("li", { class: "bar-row" },
    h("span", { class: "name", title: row.name }, row.name, row.reference ? h("span", { class: "quiet" }, " (reference)") : null),
    h("span", { class: "track", "aria-hidden": "true" },
      h("span", { class: "span", style: { left: at(row.low), width: at((row.high ?? 0) - (row.low ?? 0)) } }), h("span", { class: `dot${row.own ? " own" : ""}`, style: { left: at(row.mean) } })),
    h("span", { class: "number" }, fourth(row.mean), h("span", { class: "visually-hidden" }, ` (${fourth(row.low)} to ${fourth(row.high)})`))))), scale];
}

function table(comparison) {
  const parts = ["warm", "cold_user", "cold_item", "both_cold"].filter((part) => comparison.models.some((model) => model.slices?.[part]));
  const heads = ["model", "difference", "p (Holm)", ...parts.map(words), "training", "memory", "latency p50"];
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table of models" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((name) => h("th", {}, name)))),
    h("tbody", {}, comparison.models.map((model) => {
      const test = model.tests?.all;
      return h("tr", {}, h("th", { scope: "row", title: model.about }, model.title), h("td", {}, test ? `${test.difference > 0 ? "+" : ""}${fourth(test.difference)}` : "reference"),
        h("td", {}, test ? `${pValue(test.p_holm)}${test.significant ? "" : " ns"}` : ""), parts.map((part) => h("td", {}, fourth(model.slices?.[part]?.[comparison.metric]?.mean))),
        h("td", {}, `${model.train_seconds.toFixed(1)} s`), h("td", {}, `${count(Math.round(model.memory_mb))} MB`), h("td", {}, milliseconds(model.milliseconds.p50)));
    }))));
}
