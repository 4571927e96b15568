/* The map: the item vectors in two dimensions, with query vectors. */

import * as api from "../shared/api.js";
import { cover } from "../shared/covers.js";
import { h, icon, inline, put } from "../shared/dom.js";
import { cell, count, plural, score, share, words } from "../shared/format.js";
import { combobox, facts, head, select, trouble } from "../shared/components.js";
import { Scatter, token } from "../shared/scatter.js";
import { asker, state as tryState } from "../try/page.js";

const CATEGORY_LIGHT = ["#4c43c6", "#0b8a79", "#c2571a", "#b0307a", "#2f76c9", "#6b7d12", "#8a5bd0", "#a8321f", "#3c8a3f"];
const CATEGORY_DARK = ["#a39cff", "#4fd0bb", "#f2a065", "#f28ac4", "#7fb6f5", "#c3d25a", "#c9a6ff", "#ff9c8c", "#86d789"];
const LAYOUTS = [["components", "principal components"], ["neighbours", "neighbourhoods (t-SNE)"]];
const SHADES = 24;
const EDGES = 12; // recommended items of a user

/** State kept while other views are shown. */
const state = { column: null, layout: "components" };

export default async function show(root, argument) {
  const [bundle, points] = await Promise.all([api.bundle(), api.points(state.layout)]);
  const columns = bundle.item_columns.filter((column) => column.colours);
  state.column ??= columns.find(({ kind }) => kind === "values")?.name ?? columns[0]?.name ?? "interactions";

  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-label": `Map of ${plural(points.item_id.length, "item")}. Use the arrow keys to pan, plus and minus to zoom, 0 to show all, Enter to select the item in the centre, or the search fields.` });
  const tip = h("div", { class: "tip", hidden: true });
  const legend = h("div", { class: "legend" });
  const side = h("aside", { class: "card panel", "aria-label": "Selection" });
  const view = { bundle, side, legend, turn: 0, again: null };
  use(view, points);
  view.scatter = new Scatter(canvas, {
    onHover: (at, left, top) => {
      tip.hidden = at < 0;
      canvas.style.cursor = at < 0 ? "" : "pointer";
      if (at >= 0) { tip.textContent = view.points.name[at]; tip.style.left = `${Math.min(left, canvas.clientWidth - 180)}px`; tip.style.top = `${top}px`; }
    },
    onChoose: (at) => (at < 0 ? clear(view) : chooseItem(view, view.points.item_id[at])),
  });

  const button = (label, name, run) => h("button", { class: "button icon", type: "button", "aria-label": label, onclick: run }, icon(name));
  const options = [...columns.map(({ name }) => [name, words(name)]), ["interactions", "interactions in training"]];
  const header = head("Map", describe(points));
  view.lead = header.querySelector("p");
  view.plot = h("div", { class: "card plot" },
    h("div", { class: "points" }, canvas, tip, h("div", { class: "zoom" }, button("Zoom in", "plus", () => view.scatter.zoom(1.5)), button("Zoom out", "minus", () => view.scatter.zoom(1 / 1.5)), button("Show all", "fit", () => view.scatter.fit()))), legend);
  put(root, header,
    h("div", { class: "map-tools" },
      combobox("Find an item", "title or id …", (text) => findItems(view.points, text), (option) => chooseItem(view, option.value, true)),
      combobox("Show a user", "user id …", findUsers(bundle), (option) => chooseUser(view, option.value)),
      points.can_arrange ? select("Layout", LAYOUTS, state.layout, (layout) => arrange(view, layout)) : null,
      select("Colour by", options, state.column, (column) => { state.column = column; paint(view); })),
    h("div", { class: "map" }, view.plot, side));

  view.scatter.points(points.x, points.y);
  const repaint = () => paint(view);
  addEventListener("themechange", repaint);
  clear(view);
  await paint(view);
  if (argument === "now") await chooseNow(view);
  else if (argument) await chooseUser(view, argument);
  return () => { removeEventListener("themechange", repaint); view.scatter.end(); };
}

function use(view, points) {
  Object.assign(view, { points, place: new Map(points.item_id.map((id, n) => [id, n])) });
}

/** What the map shows and what it keeps. */
function describe(points) {
  const { item_id: { length }, total, explained, kept, neighbours, can_arrange: others } = points;
  const shown = length < total ? `${count(length)} of ${count(total)} items, a random sample` : plural(total, "item");
  const by = explained === null ? "by t-SNE, which keeps similar items together; distances between groups mean little"
    : `by the two principal components of their vectors, which hold ${share(explained)} of the variance`;
  const truth = kept === null ? "" : ` Of the ${neighbours} items most similar to an item, ${share(kept)} are among the ${neighbours} nearest to it on this map; by chance, ${share(neighbours / (length - 1))} would be.`;
  const more = explained === null || others || length < 30 ? "" : " With `pip install \"twotower[map]\"` on the server, a layout by t-SNE keeps more.";
  return `${shown}, placed ${by}.${truth}${more}`;
}

/** Place the same items by another layout; the selection stays. */
async function arrange(view, layout) {
  state.layout = layout;
  put(view.lead, layout === "neighbours" ? "Arranging the items, which may take half a minute …" : "Arranging the items …");
  view.plot.setAttribute("aria-busy", "true");
  try {
    const points = await api.points(layout);
    if (state.layout !== layout) return;
    use(view, points);
    view.scatter.marks = [];
    await paint(view);
    view.scatter.points(points.x, points.y);
    put(view.lead, inline(describe(points)));
    view.again?.();
  } catch (error) {
    put(view.lead, trouble(error));
  }
  if (state.layout === layout) view.plot.setAttribute("aria-busy", "false");
}

function findItems(points, text) {
  const wanted = text.toLowerCase();
  const found = [];
  for (let place = 0; place < points.name.length && found.length < 20; place += 1) {
    if (points.name[place].toLowerCase().includes(wanted) || String(points.item_id[place]).toLowerCase() === wanted) found.push({ value: points.item_id[place], name: points.name[place], hint: String(points.item_id[place]) });
  }
  return Promise.resolve(found);
}

function findUsers(bundle) {
  return async (text) => {
    if (!text) return bundle.users.map((user) => ({ value: user.user_id, name: String(user.user_id), hint: plural(user.events, "event") }));
    const page = await api.users(text);
    return page.users.map((user) => ({ value: user.user_id, name: String(user.user_id), hint: plural(user.events, "event") }));
  };
}

/* --- colours ---------------------------------------------------------------------------------- */

async function paint(view) {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (document.documentElement.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  view.scatter.ground = token("--card");
  view.scatter.userColour = token("--query");
  const { column: asked, layout } = state;
  let column;
  try { column = await api.colours(asked, layout); } catch (error) { put(view.legend, trouble(error)); return; }
  if (asked !== state.column || layout !== state.layout) return;
  const grey = dark ? "#5c5a6a" : "#b9b6c4";
  if (column.kind === "category") {
    const palette = [...(dark ? CATEGORY_DARK : CATEGORY_LIGHT), grey];
    view.scatter.colours(column.codes.map((code) => (code < 0 ? palette.length - 1 : code)), palette);
    put(view.legend, column.names.map((name, code) => key(palette[code], cell(name))), column.codes.some((code) => code < 0) ? key(grey, column.others ? "other" : "no value") : null);
    return;
  }
  const low = column.low ?? 0, high = column.high ?? 1;
  const palette = [...Array.from({ length: SHADES }, (_, n) => ramp(n / (SHADES - 1), dark)), grey];
  const code = (value) => (value === null ? SHADES : Math.min(SHADES - 1, Math.max(0, Math.round(((value - low) / (high - low || 1)) * (SHADES - 1)))));
  view.scatter.colours(column.values.map(code), palette);
  put(view.legend, h("span", { class: "key" }, `≤ ${cell(low)}`, h("span", { class: "ramp", style: { background: `linear-gradient(90deg, ${ramp(0, dark)}, ${ramp(0.5, dark)}, ${ramp(1, dark)})` } }), `≥ ${cell(high)}`), column.values.includes(null) ? key(grey, "no value") : null);
}

const key = (colour, name) => h("span", { class: "key" }, h("span", { class: "dot", style: { background: colour } }), name);

/** From indigo through teal to amber; higher values are lighter in dark mode, darker in light mode. */
function ramp(part, dark) {
  const light = dark ? 0.42 + 0.44 * part : 0.78 - 0.36 * part;
  return `oklch(${light.toFixed(3)} 0.13 ${(285 - 215 * part).toFixed(0)})`;
}

/* --- selection -------------------------------------------------------------------------------- */

function clear(view) {
  view.turn += 1;
  view.again = null;
  view.scatter.mark([]);
  put(view.side, h("h2", { class: "unsaved" }, "Nothing selected"), h("p", { class: "quiet unsaved" }, "Click a point or search for an item: lines lead to the items most similar to it, wherever they lie. Show a user to see their query vector and the items recommended to them."),
    h("h3", { class: "unsaved" }, "Example users"),
    h("div", { class: "chips", role: "group", "aria-label": "Example users" }, view.bundle.users.slice(0, 6).map((user) => h("button", { class: "chip", type: "button", onclick: () => chooseUser(view, user.user_id) }, user.user_id))));
}

async function chooseItem(view, id, look = false) {
  const mine = ++view.turn;
  view.again = () => chooseItem(view, id, look);
  try {
    const [info, near] = await Promise.all([api.itemCards([id]), api.similar(id)]);
    const infos = await api.itemCards(near.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    const own = info.get(id), at = spot(view, own);
    marks(view, at && { ...at, kind: "chosen", label: own.name }, near.items, infos);
    if (look && at) view.scatter.lookAt(at.x, at.y);
    put(view.side,
      h("div", { class: "chosen" }, cover(own), h("div", {}, h("h2", {}, own.name), h("p", { class: "quiet small" }, `${id} · ${plural(own.interactions, "interaction")} in training`))),
      h("h3", {}, "Similar items"), h("p", { class: "quiet small" }, found(view, id, near.items)), neighbours(view, near.items, infos),
      h("button", { class: "link", type: "button", onclick: () => clear(view) }, "Clear selection"));
  } catch (error) {
    if (mine === view.turn) put(view.side, trouble(error));
  }
}

/** How many of the most similar items the map has near an item. */
function found(view, id, similar) {
  const own = view.place.get(id), { x, y } = view.points;
  if (own === undefined) return "By the cosine of the vectors.";
  const nearest = x.map((_, place) => place).filter((place) => place !== own)
    .sort((a, b) => Math.hypot(x[a] - x[own], y[a] - y[own]) - Math.hypot(x[b] - x[own], y[b] - y[own])).slice(0, similar.length);
  const kept = similar.filter((item) => nearest.includes(view.place.get(item.item_id))).length;
  return `By the cosine of the vectors. Lines lead to them; ${kept} of the ${similar.length} are among the ${similar.length} nearest points.`;
}

function chooseUser(view, id) {
  return chooseAsker(view, { user_id: id }, String(id), `User ${id}`);
}

/** Select the user of the Try it view, whether real or made up. */
function chooseNow(view) {
  if (!tryState.who) return null;
  if (tryState.who.kind === "known") return chooseUser(view, tryState.who.id);
  return chooseAsker(view, asker(), "custom", "Custom user");
}

async function chooseAsker(view, who, label, title) {
  const mine = ++view.turn;
  view.again = () => chooseAsker(view, who, label, title);
  try {
    const [{ vector, place: at }, answer, known] = await Promise.all([api.vector(who, state.layout), api.recommend({ ...who, k: EDGES }), who.user_id === undefined ? { columns: who.user } : api.user(who.user_id)]);
    const infos = await api.itemCards(answer.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    marks(view, at && { x: at[0], y: at[1], kind: "user", label }, answer.items, infos);
    view.scatter.fit();
    const back = who.user_id === undefined ? "#/try" : `#/try/${encodeURIComponent(who.user_id)}`;
    put(view.side,
      h("div", {}, h("h2", {}, title), h("p", { class: "quiet small" }, about(vector, at))),
      Object.keys(known.columns).length ? facts(Object.entries(known.columns).map(([name, value]) => [words(name), value])) : null,
      h("h3", {}, "Recommended items"), neighbours(view, answer.items, infos),
      h("div", { class: "between" }, h("a", { href: back }, "Open in Try it"), h("button", { class: "link", type: "button", onclick: () => clear(view) }, "Clear selection")));
  } catch (error) {
    if (mine === view.turn) put(view.side, trouble(error));
  }
}

function about(vector, at) {
  if (!vector) return "Nothing is known about this user, so there is no query vector; these items are popular.";
  if (!at) return "An experiment serves this user by another version, whose vectors are not on this map.";
  const where = state.layout === "components" ? "The diamond is the query vector" : "The diamond is in the middle of the items most similar to the query vector";
  return `${where}; lines lead to the recommended items.`;
}

function marks(view, center, items, infos) {
  const near = items.map((item) => spot(view, infos.get(item.item_id))).filter((place) => place);
  view.scatter.mark([...near.map((place) => ({ ...place, kind: "near" })), ...(center ? [center] : [])]);
}

/** Where an item lies on the map; null for one outside of the sample, or added since, by t-SNE. */
function spot(view, { item_id: id, place }) {
  const own = view.place.get(id);
  if (own !== undefined) return { x: view.points.x[own], y: view.points.y[own] };
  return place && state.layout === "components" ? { x: place[0], y: place[1] } : null;
}

function neighbours(view, items, infos) {
  return h("ol", { class: "list" }, items.map((item) => {
    const info = infos.get(item.item_id);
    return h("li", {}, h("button", { type: "button", onclick: () => chooseItem(view, item.item_id, true) },
      cover(info), h("span", { class: "name", title: info.name }, info.name), h("span", { class: "number quiet small" }, score(item.score))));
  }));
}
