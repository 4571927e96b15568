/* Try it: somebody asks, the service answers, a click is an event, the answer changes. */

import * as api from "./api.js";
import { cover } from "./covers.js";
import { h, later, put } from "./dom.js";
import { cell, milliseconds, plural, score, words } from "./format.js";
import { head, trouble } from "./pieces.js";
import { filterPanel } from "./try_filters.js";
import { whereCard } from "./try_where.js";
import { whoPanel } from "./try_who.js";

const K = 10;
const PATHS = {
  known: "a user whom training saw",
  history: "somebody whom training did not see, by what they took",
  features: "somebody new, by features alone",
  popular: "somebody of whom nothing is known: what most people take",
};
const STAGES = { retrieve: "towers", rank: "ranker", diversify: "diversity", popular: "taken" };

/** What is kept while other views are looked at. */
export const state = {
  who: null, // {kind: "known", id} or {kind: "invented", features, history}
  context: {},
  filters: {},
  event: null, // the type of event that a click is, where the bundle tells them apart
  diversity: 0,
  last: null,
};

export default async function show(root, argument) {
  const bundle = await api.bundle();
  if (argument) state.who = { kind: "known", id: argument };
  state.event ??= bundle.event_types?.[0] ?? null;
  state.who ??= bundle.users.length ? { kind: "known", id: bundle.users[0].user_id } : { kind: "invented", features: {}, history: [] };

  const answers = h("ul", { class: "answers", "aria-label": "Recommendations" });
  const told = h("p", { class: "told", role: "status", "aria-live": "polite" });
  const heading = h("div", { class: "answer-head" });
  const view = { bundle, answers, told, heading, before: null, turn: 0 };
  view.ask = (because, taken) => ask(view, because, taken);
  view.who = whoPanel(state, bundle, view.ask);
  view.where = whereCard();
  const soon = later(() => view.ask("tuned"), 120);

  put(root,
    head("Try it", "Pick a user or invent one. A click on a recommendation is an event, and the next answer takes it in."),
    h("div", { class: "try" },
      h("div", { class: "who side" }, view.who.element, view.where.element),
      h("div", { class: "tune" }, diversityPanel(soon), filterPanel(state, bundle, soon)),
      h("section", { class: "got", "aria-label": "The answer" }, heading, told, answers),
      view.who.history));
  await view.ask("new");
  return view.where.end;
}

function diversityPanel(changed) {
  const figure = h("output", { for: "diversity", class: "number quiet small" }, state.diversity.toFixed(2));
  const slider = h("input", { type: "range", id: "diversity", min: 0, max: 1, step: 0.05, value: state.diversity,
    oninput: () => { state.diversity = Number(slider.value); figure.textContent = state.diversity.toFixed(2); changed(); } });
  return h("section", { class: "card panel" },
    h("header", {}, h("h2", {}, h("label", { for: "diversity" }, "Accuracy or diversity")), figure),
    h("div", {}, slider, h("div", { class: "between small quiet", "aria-hidden": "true" }, h("span", {}, "best scores"), h("span", {}, "unlike each other"))));
}

/** Who asks, as the service is told. */
export function asker() {
  const { who, context } = state;
  return who.kind === "known" ? { user_id: who.id, context } : { user: who.features, history: who.history, context };
}

function request() {
  const asked = { ...asker(), k: K, diversity: state.diversity };
  const conditions = Object.values(state.filters).flat();
  if (conditions.length) asked.filter = conditions.length === 1 ? conditions[0] : { and: conditions };
  return asked;
}

/** Ask, and show the answer beside what it was before.

    `because` is "new" for another asker, "tuned" for other filters, or the name of the item taken;
    that item is not looked for in the new answer. */
async function ask(view, because, taken = null) {
  const mine = ++view.turn;
  view.answers.setAttribute("aria-busy", "true");
  try {
    const answer = await api.recommend(request());
    const faces = await api.looks(answer.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    const before = because === "new" || !view.before ? null : view.before.filter((id) => id !== taken);
    draw(view, answer, faces, before, because);
    view.before = answer.items.map((item) => item.item_id);
    state.last = answer;
    const [turned] = await Promise.all([view.where.refresh(asker(), because === "new"), view.who.refresh()]);
    if (mine === view.turn && turned > 0.05 && before) view.told.append(` The query vector turned by ${turned.toFixed(1)}°.`);
  } catch (error) {
    if (mine !== view.turn) return;
    put(view.answers, h("li", { class: "empty" }, trouble(error)));
    view.told.textContent = "";
    if (!("status" in error)) throw error;
  } finally {
    if (mine === view.turn) view.answers.setAttribute("aria-busy", "false");
  }
}

function draw(view, answer, faces, before, because) {
  const who = state.who.kind === "known" ? `For ${state.who.id}` : "For somebody invented";
  put(view.heading, h("h2", {}, who),
    h("span", { class: "badge", title: `Answered as ${PATHS[answer.path]}` }, `path: ${answer.path}`),
    h("span", { class: "badge plain" }, answer.live ? "live: events change the answer" : "events only hide what was taken"),
    h("span", { class: "spent number" }, spent(answer.timings_ms)));
  tell(view, answer, before, because);
  if (!answer.items.length) {
    put(view.answers, h("li", { class: "empty" }, h("h3", {}, "No item fits"), h("p", {}, "The filters leave nothing that this user has not taken. Loosen one of them.")));
    return;
  }
  const ranges = scoreRanges(answer.items);
  const focused = [...view.answers.querySelectorAll(".take")].indexOf(document.activeElement);
  put(view.answers, answer.items.map((item, place) => {
    const was = before ? before.indexOf(item.item_id) : place;
    return card(view, item, faces.get(item.item_id), place, was, ranges, answer);
  }));
  // Who goes by keyboard stays at the same place of the list.
  if (focused >= 0) view.answers.querySelectorAll(".take")[Math.min(focused, answer.items.length - 1)].focus({ preventScroll: true });
}

function spent(timings) {
  const total = timings?.total;
  if (total === undefined) return "";
  const parts = Object.entries(timings).filter(([name]) => name in STAGES).map(([name, value]) => `${STAGES[name]} ${milliseconds(value)}`);
  return `answered in ${milliseconds(total)}${parts.length ? ` (${parts.join(", ")})` : ""}`;
}

function tell(view, answer, before, because) {
  const now = answer.items.map((item) => item.item_id);
  if (!before) { put(view.told, `Answered as ${PATHS[answer.path]}.`); return; }
  const fresh = now.filter((id) => !before.includes(id)).length;
  const moved = now.filter((id, place) => before.includes(id) && before.indexOf(id) !== place).length;
  if (because !== "tuned" && !answer.live && !moved) {
    put(view.told, `${because} is hidden from now on. This bundle reads no history, so the rest stays as it was.`);
    return;
  }
  const change = fresh || moved ? [h("strong", {}, `${plural(fresh, "item")} new`), `, ${moved} moved.`] : ["The answer is the same."];
  put(view.told, because === "tuned" ? "" : [`${because} is now in the history. `], change);
}

/** stage -> [lowest, highest] score of the answer, for the bars. */
function scoreRanges(items) {
  const ranges = {};
  for (const item of items) {
    for (const [stage, value] of Object.entries(stagesOf(item))) {
      if (!Number.isFinite(value)) continue;
      const [low, high] = ranges[stage] ?? [value, value];
      ranges[stage] = [Math.min(low, value), Math.max(high, value)];
    }
  }
  return ranges;
}

function stagesOf(item) {
  return item.scores && Object.keys(item.scores).length ? item.scores : { popular: item.score };
}

function card(view, item, face, place, was, ranges, answer) {
  const tags = tagsOf(view.bundle, item.columns);
  const isNew = was < 0;
  const mark = isNew ? h("span", { class: "moved" }, "new")
    : was !== place ? h("span", { class: `moved${was < place ? " down" : ""}` }, `${was > place ? "↑" : "↓"}${Math.abs(was - place)}`) : null;
  return h("li", { class: `card answer${isNew ? " fresh" : ""}`, "data-item": item.item_id },
    h("button", { class: "take", type: "button", onclick: () => take(view, item, face, answer) },
      cover(face),
      h("span", { class: "place", "aria-hidden": "true" }, place + 1), mark,
      h("span", { class: "words" },
        h("span", { class: "title" }, h("span", { class: "visually-hidden" }, `Take, place ${place + 1}: `), face.name),
        tags.length ? h("span", { class: "tag" }, tags.join(" · ")) : null),
      item.reason ? h("span", { class: "reason words" }, item.reason) : null),
    h("div", { class: "scores" }, Object.entries(stagesOf(item)).map(([stage, value]) => {
      const [low, high] = ranges[stage] ?? [0, 1];
      const width = high > low ? 12 + (88 * (value - low)) / (high - low) : 100;
      return h("div", { class: `score ${stage}` }, h("span", {}, STAGES[stage] ?? stage),
        h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "fill", style: { width: `${width}%`, display: "block" } })),
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

/** A click: an event of the user's, or one more item in the history of the invented one. */
async function take(view, item, face, answer) {
  try {
    if (state.who.kind === "known") {
      const kind = state.event;
      await api.send({ user_id: state.who.id, item_id: item.item_id, request_id: answer.request_id, context: state.context, ...(kind ? { event_type: kind } : {}) });
    } else state.who.history.push(item.item_id);
  } catch (error) {
    put(view.told, trouble(error));
    return;
  }
  await view.ask(face.name, item.item_id);
}
