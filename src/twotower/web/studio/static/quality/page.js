/* Quality: metrics measured when the bundle was built, and live metrics of the service. */

import * as api from "../shared/api.js";
import { h, put } from "../shared/dom.js";
import { count, milliseconds, plural, share, words } from "../shared/format.js";
import { bars, facts, head } from "../shared/components.js";
import { histograms, parse } from "./prometheus.js";
import { blendCard } from "./blend.js";
import { comparisonCard } from "./comparison.js";
import { stagesCard } from "./stages.js";
import { trainingCard } from "./training.js";

const EVERY = 3000; // milliseconds between two requests for the service's metrics

const MEANING = {
  recall: "of the relevant items are recommended",
  ndcg: "relative to the ideal ranking",
  hit: "of users get at least one relevant item",
  mrr: "mean of 1 / rank of the first relevant item",
};
const BASELINES = { ease: "EASE", item_knn: "item-kNN" };
const COUNTS = {
  rows: "test rows",
  users_unknown_to_training: "users not in training",
  rows_with_items_unknown_to_training: "rows with items not in training",
  rows_with_items_outside_the_catalogue: "rows with items outside the catalogue",
  rows_masked_as_seen: "rows with seen items (masked, count as misses)",
  rows_not_among_the_candidates: "rows with items that are not candidates",
};

export default async function show(root) {
  const found = await api.quality();
  const evaluation = found.evaluation;
  const live = h("section", { class: "card panel", "aria-label": "Live latency" });
  put(root,
    head("Quality", evaluation ? `Measured on held-out interactions of ${count(evaluation.num_queries)} users, ranking ${evaluation.protocol === "full_catalog" ? "the full catalogue of " : ""}${count(evaluation.num_items)} items, without the items they had already seen.`
      : "This bundle has no metrics: `twotower train` measures them if there are held-out rows."),
    evaluation && found.forgotten ? h("p", { class: "quiet" }, `Recorded in training: the figures still count ${plural(found.forgotten, "user")} forgotten since. \`twotower evaluate\` measures without them.`) : null,
    evaluation ? tiles(evaluation, found) : null,
    h("div", { class: "two" }, evaluation ? [slices(evaluation), answered(evaluation)] : null,
      blendCard(found.blend), stagesCard(found), trainingCard(found.curves), comparisonCard(found.comparison), live, provenance(found)));
  return watch(live);
}

function tiles(evaluation, found) {
  const entries = Object.entries(evaluation.metrics).map(([name, value]) => tile(name, name.startsWith("ndcg") || name.startsWith("mrr") ? value.toFixed(4) : share(value), MEANING[name.split("@")[0]] ?? ""));
  const beyond = evaluation.beyond_accuracy ?? {};
  const coverage = Object.entries(beyond).find(([name]) => name.startsWith("coverage"));
  if (coverage) entries.push(tile(coverage[0], share(coverage[1]), "of the catalogue is recommended to at least one user"));
  entries.push(tile("index recall", share(found.index.recall), found.index.kind === "exact" ? "the search compares every item" : `of ${found.index.kind} search against exact search`));
  return h("div", { class: "tiles" }, entries);
}

const tile = (name, value, meaning) => h("div", { class: "card tile" }, h("span", { class: "small" }, name), h("span", { class: "value" }, value), h("span", { class: "quiet small" }, meaning));

function slices(evaluation) {
  const metrics = Object.keys(evaluation.metrics);
  const parts = Object.entries(evaluation.slices ?? {});
  const main = metrics.find((name) => name.startsWith("ndcg")) ?? metrics[0];
  const baselines = Object.entries(evaluation.baselines ?? {}).map(([name, figures]) => [`all, by ${BASELINES[name] ?? words(name)}`, { num_queries: evaluation.num_queries, ...figures }]);
  return h("section", { class: "card panel wide" }, h("header", {}, h("h2", {}, "Quality by slice: warm and cold users and items"), h("span", { class: "quiet small" }, `bars: ${main}`)),
    h("div", { class: "beside" }, bars([["all", evaluation.metrics[main]], ...[...baselines, ...parts].map(([name, figures]) => [words(name), figures[main] ?? NaN])], { show: (value) => value.toFixed(4), label: `${main} by slice` }),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table of slices" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "slice"), h("th", {}, "users"), metrics.map((name) => h("th", {}, name)))),
      h("tbody", {}, [["all", { num_queries: evaluation.num_queries, ...evaluation.metrics }], ...baselines, ...parts].map(([name, figures]) => h("tr", {}, h("th", { scope: "row" }, words(name)), h("td", {}, count(figures.num_queries)),
        metrics.map((metric) => h("td", {}, figures[metric] === null || figures[metric] === undefined ? "–" : figures[metric].toFixed(4))))))))));
}

function answered(evaluation) {
  const counts = Object.entries(evaluation.counts ?? {}).filter(([, value]) => value).map(([name, value]) => [COUNTS[name] ?? words(name), count(value)]);
  return [h("section", { class: "card panel" }, h("h2", {}, "Fallback paths"), bars(Object.entries(evaluation.paths ?? {}), { show: count, label: "Users by path" }), h("p", { class: "quiet small" }, "The path by which each test user's recommendations were computed.")),
    h("section", { class: "card panel" }, h("h2", {}, "Test data"), facts(counts), [...(evaluation.cautions ?? []), ...(evaluation.notes ?? [])].map((note) => h("p", { class: "quiet small" }, note)))];
}

function provenance(found) {
  const made = Object.entries(found.training).map(([name, value]) => [words(name), value]);
  return h("section", { class: "card panel" }, h("h2", {}, "Provenance"), facts([["created", found.created ? `${found.created.slice(0, 16).replace("T", " ")} UTC` : "–"], ["twotower version", found.twotower ?? "–"], ["data (SHA-256)", found.data ? `${found.data.slice(0, 16)}…` : "–"], ["item vectors", count(found.index.size)], ...made]));
}

/* --- live ------------------------------------------------------------------------------------- */

function watch(card) {
  let on = true, timer = 0;
  const look = async () => {
    try {
      const metrics = parse(await api.metrics());
      if (on) drawLive(card, metrics);
    } catch (error) {
      if (on) put(card, h("h2", {}, "Latency now"), h("p", { class: "note" }, error.status === 404 ? "This service does not export metrics." : error.message));
      if (error.status) return;
    }
    if (on) timer = setTimeout(look, EVERY);
  };
  look();
  return () => { on = false; clearTimeout(timer); };
}

function drawLive(card, metrics) {
  const rows = histograms(metrics).filter(({ labels }) => !labels.route || labels.route.startsWith("/v1"))
    .map((one) => ({ ...one, title: titleOf(one) })).sort((a, b) => a.title.localeCompare(b.title));
  const spent = (seconds) => milliseconds(1000 * seconds);
  put(card, h("header", {}, h("h2", {}, "Latency now"), h("span", { class: "quiet small" }, "from /metrics, every 3 seconds")),
    rows.length ? h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Latency" }, h("table", {}, h("thead", {}, h("tr", {}, ["stage or route", "requests", "p50", "p95", "p99"].map((name) => h("th", {}, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.title), h("td", {}, count(row.count)), [0.5, 0.95, 0.99].map((part) => h("td", {}, spent(row.quantile(part))))))))) : h("p", { class: "quiet" }, "No requests yet."));
}

function titleOf({ name, labels }) {
  const plain = words(name.replace(/^twotower_/, ""));
  const label = Object.entries(labels).filter(([key]) => !["status", "version"].includes(key)).map(([, value]) => value).join(" ");
  return label ? `${plain}: ${label}` : plain;
}
