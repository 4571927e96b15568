/* The architecture as far as the learner has built it: a node for each step. */

import { h } from "../shared/dom.js";
import { count } from "../shared/format.js";
import * as progress from "./progress.js";

/** Steps in the order of the data, which is not the order of learning. */
const ROWS = [["embedding"], ["activation"], ["user-tower", "item-tower"], ["factorization"], ["negatives"], ["search"], ["ranker"], ["comparison"]];

const NARROW = matchMedia("(max-width: 1180px)");

/** Folded where it stands above the step, on narrow screens; `open` says otherwise. */
export function diagram(steps, now, open = !NARROW.matches) {
  const bySlug = new Map(steps.map((step, n) => [step.slug, { ...step, number: n + 1 }]));
  const lit = steps.filter(({ slug }) => progress.isLit(slug)).length;
  return h("section", { class: "card panel built", "aria-label": "What you have built" }, h("details", { open },
    h("summary", {}, h("h2", {}, "What you have built"), h("span", { class: "quiet small number" }, `${lit} of ${steps.length}`)),
    h("p", { class: "small quiet" }, "Each part where it sits in a recommender. Each step trains a model of its own: your choices are not carried over. The loss is used in training only. B: rows in a batch; N: items."),
    h("ol", { class: "flow" }, ROWS.map((row) => h("li", { class: row.length > 1 ? "pair" : "" }, row.map((slug) => box(bySlug.get(slug), now)))))));
}

function box(step, now) {
  const kept = progress.isLit(step.slug) ? progress.result(step.slug) : null;
  const tone = { query: "query", item: "item", both: "both", serve: "serve-node" }[step.part];
  const output = kept?.node?.shapes.at(-1);
  return h("a", { class: `node ${tone}${kept ? " lit" : " unbuilt"}`, href: `#/learn/${step.slug}`, "data-step": step.slug, "aria-current": step.slug === now ? "step" : undefined },
    h("span", { class: "title" }, `${step.number}. ${step.node}`),
    h("span", { class: "shape" }, kept?.node ? output[1] : "not built yet"),
    kept?.node && step.has_parameters ? h("span", { class: "shape" }, `${count(kept.node.params)} parameters`) : null);
}
