/* The user to recommend to: one in the bundle, or a custom one with features and a history. */

import * as api from "../shared/api.js";
import { cover } from "../shared/covers.js";
import { fresh, h, icon, later, put } from "../shared/dom.js";
import { cell, count, plural, words } from "../shared/format.js";
import { combobox, facts, segments, select } from "../shared/components.js";

const SHOWN = 40; // events
const CHIPS = 14; // values of a feature

export function userPanel(state, bundle, ask) {
  const body = h("div", { class: "side" });
  const history = h("section", { class: "card panel past", "aria-label": "History" });
  const element = h("section", { class: "card panel user", "aria-label": "User" });
  const changed = later(() => ask("tuned"), 150);

  const choose = (who) => { state.who = who; draw(); ask("new"); };
  const draw = () => {
    put(body, state.who.kind === "known" ? knownPart(state, bundle, choose) : inventedPart(state, bundle, changed));
    put(history);
    drawModes();
  };
  const modes = h("div");
  const drawModes = () => put(modes, segments("User", [["known", "Existing user"], ["invented", "Custom user"]], state.who.kind, (kind) => {
    if (kind === state.who.kind) return;
    if (kind === "known") choose({ kind, id: bundle.users[0]?.user_id ?? "unknown" });
    else choose({ kind, features: {}, history: [] });
    element.querySelector(".segments [aria-pressed=true]")?.focus();
  }));
  put(element, modes, body, contextPart(state, bundle, changed));
  draw();
  return { element, history, refresh: () => refresh(state, bundle, body, history, ask) };
}

function knownPart(state, bundle, choose) {
  const find = async (text) => {
    const page = await api.users(text);
    return page.users.map((user) => ({ value: user.user_id, name: String(user.user_id), hint: plural(user.events, "event") }));
  };
  return [
    combobox("Find a user", "user id …", find, (option) => choose({ kind: "known", id: option.value })),
    h("div", { class: "chips", role: "group", "aria-label": "Example users" }, bundle.users.slice(0, 6).map((user) => h("button", {
      class: "chip", type: "button", "aria-pressed": String(user.user_id === state.who.id),
      onclick: () => choose({ kind: "known", id: user.user_id }),
    }, user.user_id))),
    h("div", { "data-part": "about" }),
    bundle.event_types?.length > 1 ? select("Event type of a click", bundle.event_types.map((type) => [type, type]), state.event, (type) => { state.event = type; }) : null,
  ];
}

/* --- custom user: a form generated from the schema -------------------------------------------- */

function inventedPart(state, bundle, changed) {
  const set = (column, value) => {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) delete state.who.features[column];
    else state.who.features[column] = value;
    changed();
  };
  const fields = bundle.user_features.map((feature) => field(feature, state.who.features[feature.column], (value) => set(feature.column, value)));
  return fields.length ? fields : [h("p", { class: "note" }, "This bundle has no user features: a custom user is described by their history only.")];
}

function contextPart(state, bundle, changed) {
  if (!bundle.context_features.length) return null;
  return h("fieldset", { class: "side" }, h("legend", { class: "visually-hidden" }, "Context"),
    bundle.context_features.map((feature) => field(feature, state.context[feature.column], (value) => {
      if (value === null || value === "") delete state.context[feature.column];
      else state.context[feature.column] = value;
      changed();
    }, "context")));
}

function field(feature, value, set, hint = "") {
  const shown = feature.type === "categories" ? CHIPS : feature.values?.length;
  const hints = [hint, feature.num_values > shown ? `${shown} of ${count(feature.num_values)} values` : ""].filter(Boolean);
  const name = hints.length ? `${words(feature.name)} (${hints.join(", ")})` : words(feature.name);
  if (feature.type === "category" && feature.values) {
    const options = [["", "unknown"], ...feature.values.map((option, place) => [String(place), cell(option)])];
    const at = feature.values.indexOf(value);
    return select(name, options, at < 0 ? "" : String(at), (place) => set(place === "" ? null : feature.values[Number(place)]));
  }
  if (feature.type === "categories" && feature.values) return choices(name, feature, value ?? [], set);
  if (feature.type === "number" && Number.isFinite(feature.low)) return range(name, feature, value, set);
  return plain(name, feature, value, set);
}

function choices(name, feature, chosen, set) {
  const now = new Set(chosen);
  return h("fieldset", { class: "field" }, h("legend", {}, name), h("div", { class: "chips" }, feature.values.slice(0, CHIPS).map((option) => {
    const chip = h("button", { class: "chip", type: "button", "aria-pressed": String(now.has(option)), onclick: () => {
      if (!now.delete(option)) now.add(option);
      chip.setAttribute("aria-pressed", String(now.has(option)));
      set([...now]);
    } }, cell(option));
    return chip;
  })));
}

function range(name, feature, value, set) {
  const id = fresh("number");
  const whole = feature.high - feature.low > 12;
  const tidy = (number) => (whole ? Math.round(number) : Number(number.toPrecision(3)));
  const output = h("output", { class: "number quiet small", for: id }, value ?? "unknown");
  const slider = h("input", { type: "range", id, min: tidy(feature.low), max: tidy(feature.high), step: whole ? 1 : (feature.high - feature.low) / 100,
    value: value ?? tidy(feature.middle), oninput: () => { const number = tidy(Number(slider.value)); output.textContent = number; clear.hidden = false; set(number); } });
  const clear = h("button", { class: "link", type: "button", hidden: value === undefined, "aria-label": `Clear ${name}`, onclick: () => {
    slider.value = tidy(feature.middle);
    output.textContent = "unknown";
    clear.hidden = true;
    slider.focus();
    set(null);
  } }, "clear");
  return h("div", { class: "field" }, h("div", { class: "between" }, h("label", { for: id }, name), h("span", {}, output, " ", clear)), slider);
}

function plain(name, feature, value, set) {
  const id = fresh("text");
  const numeric = feature.type === "number";
  return h("div", { class: "field" }, h("label", { for: id }, name), h("input", { class: "input", id, type: numeric ? "number" : "text",
    placeholder: "unknown", value: value ?? "", oninput: (event) => {
      const typed = event.target.value.trim();
      set(typed === "" ? null : numeric ? Number(typed) : typed);
    } }));
}

/* --- history ---------------------------------------------------------------------------------- */

async function refresh(state, bundle, body, history, ask) {
  if (state.who.kind === "invented") { await drawInvented(state, bundle, history, ask); return; }
  const who = state.who;
  let known;
  try { known = await api.user(who.id); } catch { known = null; }
  if (state.who !== who) return;
  const about = body.querySelector("[data-part=about]");
  if (!known) { put(history); if (about) put(about); return; }
  const columns = Object.entries(known.columns).map(([name, value]) => [words(name), value]);
  if (about) put(about, columns.length ? facts(columns) : null, known.path === "popular" ? h("p", { class: "note" }, unread(known, state.last)) : null);
  const events = known.history.filter((event) => event.item_id !== null).slice(-SHOWN).reverse();
  const infos = await api.itemCards(events.map((event) => event.item_id));
  if (state.who !== who) return;
  const older = known.history.length - events.length;
  put(history, h("header", { class: "between" }, h("h2", {}, "History"), events.length ? h("span", { class: "quiet small" }, plural(known.history.length, "event")) : null),
    events.length ? [
      h("p", { class: "quiet small" }, readBy(known, bundle, state.last)),
      h("ol", { class: "history cue", tabindex: "0", "aria-label": "History, newest first" }, events.map((event) => row(infos.get(event.item_id), event.live)),
        older ? h("li", { class: "quiet small row" }, `and ${count(older)} more`) : null)]
      : h("p", { class: "note" }, "No events yet. Click a recommendation."));
}

async function drawInvented(state, bundle, history, ask) {
  const who = state.who;
  const ids = [...who.history].reverse();
  const starters = bundle.popular_items.filter((id) => !who.history.includes(id)).slice(0, 6);
  const infos = await api.itemCards([...ids, ...starters]);
  if (state.who !== who) return;
  const add = (id) => { who.history.push(id); ask(infos.get(id)?.name ?? String(id)); };
  const find = async (text) => {
    const page = await api.items(text);
    const found = page.items.filter((item) => !who.history.includes(item.item_id));
    const names = await api.itemCards(found.map((item) => item.item_id));
    names.forEach((info, id) => infos.set(id, info));
    return found.map((item) => ({ value: item.item_id, name: names.get(item.item_id).name, hint: String(item.item_id) }));
  };
  put(history, h("header", { class: "between" }, h("h2", {}, "History"), h("span", { class: "quiet small" }, plural(ids.length, "item"))),
    combobox("Add an item", "title or id …", find, (option) => add(option.value)),
    ids.length
      ? h("ol", { class: "history cue", tabindex: "0", "aria-label": "History, newest first" }, ids.map((id, place) => row(infos.get(id), false, () => {
        who.history.splice(who.history.length - 1 - place, 1);
        ask("tuned");
      })))
      : h("div", { class: "chips items", role: "group", "aria-label": "Popular items" }, starters.map((id) => h("button", { class: "chip", type: "button", onclick: () => add(id) }, icon("plus"), h("span", {}, infos.get(id).name)))));
}

/** What the model does with the events of a user. */
function readBy(known, bundle, answer) {
  const readers = [
    known.events_read ? `The query tower reads the latest ${count(known.events_read)}` : null,
    bundle.reads_user_items ? `${known.events_read ? "t" : "T"}he item-to-item model reads all of them` : null,
  ].filter(Boolean);
  if (readers.length) return `${readers.join(", ")}.`;
  return answer?.live ? "The ranker reads them." : "They only hide seen items: no part of this bundle reads them.";
}

function unread(known, answer) {
  if (known.history.length) return "This bundle reads neither this user's id nor their events: popular items are recommended.";
  return `Nothing is known about this user: popular items are recommended${answer?.live ? " until the first event" : ""}.`;
}

function row(info, live, remove) {
  return h("li", { class: `row${live ? " live" : ""}` }, cover(info), h("span", { class: "name", title: info.name }, info.name),
    remove ? h("button", { class: "remove", type: "button", "aria-label": `Remove ${info.name}`, onclick: remove }, "×")
      : live ? h("span", { class: "badge item" }, "live") : null);
}
