/* What the answers consist of: the towers, item neighbours and popularity, and what each is worth
   on the validation part. */

import { h } from "../shared/dom.js";
import { fourth, share, words } from "../shared/format.js";
import { bars } from "../shared/components.js";

const LINEAR = { ease: "EASE", item_knn: "item-kNN" };

/** Shares and validation figures of the sources; nothing for a bundle of the towers alone. */
export function blendCard(blend) {
  if (!blend) return null;
  const popular = blend.half_life_days ? `popularity (half-life ${blend.half_life_days} days)` : "popularity";
  const names = { towers: "towers", neighbours: LINEAR[blend.linear] ?? "item neighbours", popularity: popular };
  const shares = Object.entries(blend.shares).map(([source, value]) => [names[source] ?? words(source), value]);
  const figures = Object.entries(blend.validation).map(([name, value]) => [LINEAR[name] ?? words(name), value]);
  return h("section", { class: "card panel wide", "aria-label": "Blend" }, h("h2", {}, "What the answers consist of"),
    h("div", { class: "beside" },
      h("div", {}, h("h3", {}, "Share in the scores"), bars(shares, { show: share, label: "Share of each source in the scores" })),
      h("div", {}, h("h3", {}, `${blend.metric} on the validation part`), bars(figures, { show: fourth, label: `${blend.metric} of each source` }))),
    h("p", { class: "quiet small" }, `Validation chose the weights, so that the blend is no worse there than popularity or item neighbours alone. The validation part has other rows than the test part: these figures differ from the ${blend.metric} at the top of this page.`));
}
