/* What each stage loses, and how the bundle's model did beside others. */

import { h } from "./dom.js";
import { share, words } from "./format.js";
import { bars } from "./pieces.js";

/** The index against exact search, the retriever as the ranker's ceiling, the ranker's lift. */
export function stagesCard(found) {
  const rows = [["index finds of exact search", found.index.recall]];
  for (const [name, value] of Object.entries(found.stages ?? {})) if (Number.isFinite(value)) rows.push([words(name), value]);
  return h("section", { class: "card panel wide" }, h("h2", {}, "What each stage keeps"), bars(rows, { tone: "item", show: share, label: "Share kept by stage" }),
    found.stages ? null : h("p", { class: "quiet small" }, "This bundle has one stage, the towers: nothing is lost between retrieving and ranking."));
}

export function comparisonCard(comparison) {
  if (!comparison) return h("section", { class: "card panel wide" }, h("h2", {}, "Compared with other models"), h("p", { class: "quiet" }, "No comparison was made for this bundle. ", h("code", {}, "twotower compare CONFIG"), " trains popularity, item-kNN, EASE, iALS and BPR-MF on the same split, tuned alike, and says whether the towers are better beyond chance."));
  return null;
}
