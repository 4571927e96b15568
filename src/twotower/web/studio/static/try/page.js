/* Try it: recommendations for a user; a click is logged as an event and changes them. */

import * as api from "../shared/api.js";
import { cover } from "../shared/covers.js";
import { h, later, put } from "../shared/dom.js";
import { cell, milliseconds, plural, score, words } from "../shared/format.js";
import { head, trouble } from "../shared/components.js";
import { filterPanel } from "./filters.js";
import { queryVectorCard } from "./query_vector.js";
import { userPanel } from "./user_panel.js";

const K = 10;
const PATHS = {
  known: "for a user known from training",
  history: "for a user not in training, from their history",
  features: "for a new user, from their features only",
  popular: "for an unknown user: popular items",
};
const TIMED = { retrieve: "retrieval", rank: "ranker", diversify: "diversity" };
const STAGES = { retrieve: "towers", rank: "ranker", popular: "popularity" };

/** State kept while other views are shown. */
export const state = {
  who: null, // {kind: "known", id} or {kind: "invented", features, history}
  context: {},
  filters: {},
  event: null, // event type of a click, if the bundle distinguishes event types
  diversity: 0,
  last: null,
};

export default async function show(root, argument) {
  const bundle = await api.bundle();
  if (argument) state.who = { kind: "known", id: argument };
  state.event ??= bundle.event_types?.[0] ?? null;
  state.who ??= bundle.users.length ? { kind: "known", id: bundle.users[0].user_id } : { kind: "invented", features: {}, history: [] };

  const answers = h("ul", { class: "answers", "aria-label": "Recommendations" });
  const status = h("p", { class: "status", role: "status", "aria-live": "polite" });
  const heading = h("div", { class: "answer-head" });
  const view = { bundle, answers, status, heading, before: null, turn: 0 };
  view.ask = (because, clicked) => ask(view, because, clicked);
  view.who = userPanel(state, bundle, view.ask);
  view.vector = queryVectorCard();
  const soon = later(() => view.ask("tuned"), 120);

  put(root,
    head("Try it", "Pick a user or create one. A click on a recommendation is logged as an event and changes the next recommendations."),
    h("div", { class: "try" },
      view.who.element,
      h("div", { class: "got" },
        h("div", { class: "tune" }, diversityPanel(soon), filterPanel(state, bundle, soon)),
        h("section", { "aria-label": "Results" }, heading, status, answers)),
      view.who.history, view.vector.element));
  await view.ask("new");
  return view.vector.end;
}

function diversityPanel(changed) {
  const figure = h("output", { for: "diversity", class: "number quiet small" }, state.diversity.toFixed(2));
  const slider = h("input", { type: "range", id: "diversity", min: 0, max: 1, step: 0.05, value: state.diversity,
    oninput: () => { state.diversity = Number(slider.value); figure.textContent = state.diversity.toFixed(2); changed(); } });
  return h("section", { class: "card panel diversity" },
    h("h2", {}, h("label", { for: "diversity" }, "Relevance or diversity")),
    h("span", { class: "small quiet", "aria-hidden": "true" }, "most relevant"), slider, h("span", { class: "small quiet", "aria-hidden": "true" }, "most diverse"), figure);
}

/** The user as in the body of a request. */
export function asker() {
  const { who, context } = state;
  return who.kind === "known" ? { user_id: who.id, context } : { user: who.features, history: who.history, context };
}

/** The body of the request that was answered last. */
export function request() {
  const asked = { ...asker(), k: K, diversity: state.diversity };
  const conditions = Object.values(state.filters).flat();
  if (conditions.length) asked.filter = conditions.length === 1 ? conditions[0] : { and: conditions };
  return asked;
}

/** Request recommendations and show how they differ from the previous ones.

    `because` is "new" for another user, "tuned" for other options, or the name of the clicked item,
    which is ignored in the comparison. */
async function ask(view, because, clicked = null) {
  const mine = ++view.turn;
  view.answers.setAttribute("aria-busy", "true");
  try {
    const answer = await api.recommend(request());
    const infos = await api.itemCards(answer.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    const before = because === "new" || !view.before ? null : view.before.filter((id) => id !== clicked);
    draw(view, answer, infos, before, because);
    view.before = answer.items.map((item) => item.item_id);
    state.last = answer;
    const [turned] = await Promise.all([view.vector.refresh(asker(), because === "new"), view.who.refresh()]);
    if (mine === view.turn && turned > 0.05 && before) view.status.append(` The query vector turned by ${turned.toFixed(1)}°.`);
  } catch (error) {
    if (mine !== view.turn) return;
    put(view.answers, h("li", { class: "empty" }, trouble(error)));
    view.status.textContent = "";
    if (!("status" in error)) throw error;
  } finally {
    if (mine === view.turn) view.answers.setAttribute("aria-busy", "false");
  }
}

function draw(view, answer, infos, before, because) {
  const who = state.who.kind === "known" ? `For ${state.who.id}` : "For the custom user";
  put(view.heading, h("h2", {}, who),
    h("span", { class: "badge", title: `Recommended ${PATHS[answer.path]}` }, `path: ${answer.path}`),
    h("span", { class: "badge plain" }, answer.live ? "live: new events change the answer" : "new events only hide seen items"),
    h("span", { class: "spent number" }, spent(answer.timings_ms)));
  describeChange(view, answer, before, because);
  if (!answer.items.length) {
    put(view.answers, h("li", { class: "empty" }, h("h3", {}, "No matching items"), h("p", {}, "No unseen item matches the filters. Relax one of them.")));
    return;
  }
  const ranges = scoreRanges(answer.items);
  const focused = [...view.answers.querySelectorAll(".pick")].indexOf(document.activeElement);
  put(view.answers, answer.items.map((item, place) => {
    const was = before ? before.indexOf(item.item_id) : place;
    return card(view, item, infos.get(item.item_id), place, was, ranges, answer);
  }));
  // Keep the keyboard focus at the same position of the list.
  if (focused >= 0) view.answers.querySelectorAll(".pick")[Math.min(focused, answer.items.length - 1)].focus({ preventScroll: true });
}

function spent(timings) {
  const total = timings?.total;
  if (total === undefined) return "";
  const parts = Object.entries(timings).filter(([name]) => name in TIMED).map(([name, value]) => `${TIMED[name]} ${milliseconds(value)}`);
  return `answered in ${milliseconds(total)}${parts.length ? ` (${parts.join(", ")})` : ""}`;
}

function describeChange(view, answer, before, because) {
  const now = answer.items.map((item) => item.item_id);
  if (!before) { put(view.status, `Recommended ${PATHS[answer.path]}.`); return; }
  const fresh = now.filter((id) => !before.includes(id)).length;
  const moved = now.filter((id, place) => before.includes(id) && before.indexOf(id) !== place).length;
  if (because !== "tuned" && !answer.live && !moved) {
    put(view.status, `${because} is now hidden. This bundle has no history feature, so the other recommendations stay the same.`);
    return;
  }
  const change = fresh || moved ? [h("strong", {}, `${plural(fresh, "new item")}`), `, ${moved} moved.`] : ["The recommendations did not change."];
  put(view.status, because === "tuned" ? "" : [`${because} is now in the history. `], change);
}

/** stage -> [lowest score or 0, highest score or 0], for the bars. */
function scoreRanges(items) {
  const ranges = {};
  for (const item of items) {
    for (const [stage, value] of Object.entries(stagesOf(item))) {
      if (!Number.isFinite(value)) continue;
      const [low, high] = ranges[stage] ?? [0, 0];
      ranges[stage] = [Math.min(low, value), Math.max(high, value)];
    }
  }
  return ranges;
}

function stagesOf(item) {
  return item.scores && Object.keys(item.scores).length ? item.scores : { popular: item.score };
}

function card(view, item, info, place, was, ranges, answer) {
  const tags = tagsOf(view.bundle, item.columns);
  const isNew = was < 0;
  const mark = isNew ? h("span", { class: "moved" }, "new")
    : was !== place ? h("span", { class: `moved${was < place ? " down" : ""}` }, `${was > place ? "↑" : "↓"}${Math.abs(was - place)}`) : null;
  return h("li", { class: `card answer${isNew ? " fresh" : ""}`, "data-item": item.item_id },
    h("button", { class: "pick", type: "button", onclick: () => click(view, item, info, answer) },
      cover(info),
      h("span", { class: "place", "aria-hidden": "true" }, place + 1), mark,
      h("span", { class: "words" },
        h("span", { class: "title" }, h("span", { class: "visually-hidden" }, `Select item ${place + 1}: `), info.name),
        tags.length ? h("span", { class: "tag" }, tags.join(" · ")) : null),
      item.reason ? h("span", { class: "reason words" }, item.reason) : null),
    h("div", { class: "scores" }, Object.entries(stagesOf(item)).map(([stage, value]) => {
      const [low, high] = ranges[stage] ?? [0, 1];
      const share = (part) => `${(100 * part) / (high - low || 1)}%`;
      return h("div", { class: `score ${stage}` }, h("span", {}, STAGES[stage] ?? stage),
        h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "fill", style: { left: share(Math.min(value, 0) - low), width: share(Math.abs(value)) } })),
        h("span", {}, score(value)));
    })));
}

function tagsOf(bundle, columns) {
  return bundle.item_features
    .filter(({ type, column }) => ["category", "categories", "number"].includes(type) && isThere(columns?.[column]))
    .map(({ type, column }) => (type === "number" ? `${words(column)} ${cell(columns[column])}` : cell(columns[column])))
    .slice(0, 2);
}

const isThere = (value) => value !== null && value !== undefined && !(Array.isArray(value) && !value.length);

/** A click: an event of a real user, or one more item in the history of a custom user. */
async function click(view, item, info, answer) {
  try {
    if (state.who.kind === "known") {
      const kind = state.event;
      await api.send({ user_id: state.who.id, item_id: item.item_id, request_id: answer.request_id, context: state.context, ...(kind ? { event_type: kind } : {}) });
    } else state.who.history.push(item.item_id);
  } catch (error) {
    put(view.status, trouble(error));
    return;
  }
  await view.ask(info.name, item.item_id);
}
