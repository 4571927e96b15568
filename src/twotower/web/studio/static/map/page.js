/* The map: item vectors projected onto their first two principal components, with query vectors. */

import * as api from "../shared/api.js";
import { cover } from "../shared/covers.js";
import { h, icon, put } from "../shared/dom.js";
import { cell, count, plural, score, share, words } from "../shared/format.js";
import { combobox, facts, head, select, trouble } from "../shared/components.js";
import { project } from "../shared/projection.js";
import { Scatter, token } from "../shared/scatter.js";
import { asker, state as tryState } from "../try/page.js";

const CATEGORY_LIGHT = ["#4c43c6", "#0b8a79", "#c2571a", "#b0307a", "#2f76c9", "#6b7d12", "#8a5bd0", "#a8321f", "#3c8a3f"];
const CATEGORY_DARK = ["#a39cff", "#4fd0bb", "#f2a065", "#f28ac4", "#7fb6f5", "#c3d25a", "#c9a6ff", "#ff9c8c", "#86d789"];
const SHADES = 24;
const EDGES = 12;

/** State kept while other views are shown. */
const state = { column: null, chosen: null };

export default async function show(root, argument) {
  const [bundle, points] = await Promise.all([api.bundle(), api.points()]);
  const columns = bundle.item_columns.filter((column) => column.colours);
  state.column ??= columns.find(({ kind }) => kind === "values")?.name ?? columns[0]?.name ?? "interactions";

  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-label": `Map of ${plural(points.item_id.length, "item")}. Use the arrow keys to pan, plus and minus to zoom, 0 to show all, Enter to select the item in the centre, or the search fields.` });
  const tip = h("div", { class: "tip", hidden: true });
  const legend = h("div", { class: "legend" });
  const side = h("aside", { class: "card panel", "aria-label": "Selection" });
  const view = { bundle, points, side, legend, place: new Map(points.item_id.map((id, n) => [id, n])), turn: 0 };
  view.scatter = new Scatter(canvas, {
    onHover: (at, left, top) => {
      tip.hidden = at < 0;
      canvas.style.cursor = at < 0 ? "" : "pointer";
      if (at >= 0) { tip.textContent = points.name[at]; tip.style.left = `${Math.min(left, canvas.clientWidth - 180)}px`; tip.style.top = `${top}px`; }
    },
    onChoose: (at) => (at < 0 ? clear(view) : chooseItem(view, points.item_id[at])),
  });

  const button = (label, name, run) => h("button", { class: "button icon", type: "button", "aria-label": label, onclick: run }, icon(name));
  const options = [...columns.map(({ name }) => [name, words(name)]), ["interactions", "interactions in training"]];
  const shown = points.item_id.length < points.total ? `${count(points.item_id.length)} of ${count(points.total)} items, a random sample` : plural(points.total, "item");
  put(root,
    head("Map", `${shown}, placed by the first two principal components of their vectors, which explain ${share(points.explained[0] + points.explained[1])} of the variance. Similar items are close to each other.`),
    h("div", { class: "map-tools" },
      combobox("Find an item", "title or id …", (text) => findItems(points, text), (option) => chooseItem(view, option.value, true)),
      combobox("Show a user", "user id …", findUsers(bundle), (option) => chooseUser(view, option.value)),
      select("Colour by", options, state.column, (column) => { state.column = column; paint(view); })),
    h("div", { class: "map" },
      h("div", { class: "card plot" }, canvas, tip, legend,
        h("div", { class: "zoom" }, button("Zoom in", "plus", () => view.scatter.zoom(1.5)), button("Zoom out", "minus", () => view.scatter.zoom(1 / 1.5)), button("Show all", "fit", () => view.scatter.fit()))),
      side));

  view.scatter.points(points.x, points.y);
  const repaint = () => paint(view);
  addEventListener("themechange", repaint);
  clear(view);
  await paint(view);
  if (argument === "now") await chooseNow(view);
  else if (argument) await chooseUser(view, argument);
  return () => { removeEventListener("themechange", repaint); view.scatter.end(); };
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
  const asked = state.column;
  let column;
  try { column = await api.colours(asked); } catch (error) { put(view.legend, trouble(error)); return; }
  if (asked !== state.column) return;
  const grey = dark ? "#5c5a6a" : "#b9b6c4";
  if (column.kind === "category") {
    const palette = [...(dark ? CATEGORY_DARK : CATEGORY_LIGHT), grey];
    view.scatter.colours(column.codes.map((code) => (code < 0 ? palette.length - 1 : code)), palette);
    put(view.legend, column.names.map((name, code) => key(palette[code], cell(name))), column.others ? key(grey, "other") : null);
    return;
  }
  const low = column.low ?? 0, high = column.high ?? 1;
  const palette = [...Array.from({ length: SHADES }, (_, n) => ramp(n / (SHADES - 1), dark)), grey];
  const code = (value) => (value === null ? SHADES : Math.min(SHADES - 1, Math.max(0, Math.round(((value - low) / (high - low || 1)) * (SHADES - 1)))));
  view.scatter.colours(column.values.map(code), palette);
  put(view.legend, h("span", { class: "key" }, cell(low), h("span", { class: "ramp", style: { background: `linear-gradient(90deg, ${ramp(0, dark)}, ${ramp(0.5, dark)}, ${ramp(1, dark)})` } }), cell(high)));
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
  view.scatter.mark([]);
  put(view.side, h("h2", {}, "Nothing selected"), h("p", { class: "quiet" }, "Click a point or search for an item to see similar items. Show a user to see their query vector and the items it retrieves."),
    h("div", { class: "chips", role: "group", "aria-label": "Example users" }, view.bundle.users.slice(0, 6).map((user) => h("button", { class: "chip", type: "button", onclick: () => chooseUser(view, user.user_id) }, user.user_id))));
}

async function chooseItem(view, id, look = false) {
  const mine = ++view.turn;
  try {
    const [info, near] = await Promise.all([api.itemCards([id]), api.similar(id)]);
    const infos = await api.itemCards(near.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    const own = info.get(id);
    marks(view, own.place && { x: own.place[0], y: own.place[1], kind: "chosen", label: own.name }, near.items, infos);
    if (look && own.place) view.scatter.lookAt(...own.place);
    put(view.side,
      h("div", { class: "chosen" }, cover(own), h("div", {}, h("h2", {}, own.name), h("p", { class: "quiet small" }, `${id} · ${plural(own.interactions, "interaction")} in training`))),
      h("h3", {}, "Similar items"), neighbours(view, near.items, infos),
      h("button", { class: "link", type: "button", onclick: () => clear(view) }, "Clear selection"));
  } catch (error) {
    if (mine === view.turn) put(view.side, trouble(error));
  }
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
  try {
    const [vector, answer, known] = await Promise.all([api.vector(who), api.recommend({ ...who, k: EDGES }), who.user_id === undefined ? { columns: who.user } : api.user(who.user_id)]);
    const infos = await api.itemCards(answer.items.map((item) => item.item_id));
    if (mine !== view.turn) return;
    const at = vector ? project(view.points, vector) : null;
    marks(view, at && { x: at[0], y: at[1], kind: "user", label }, answer.items, infos);
    view.scatter.fit();
    const back = who.user_id === undefined ? "#/try" : `#/try/${encodeURIComponent(who.user_id)}`;
    put(view.side,
      h("div", {}, h("h2", {}, title), h("p", { class: "quiet small" }, at ? "The diamond is the query vector; the rings are the items it retrieves." : "Nothing is known about this user, so there is no query vector; these items are popular.")),
      Object.keys(known.columns).length ? facts(Object.entries(known.columns).map(([name, value]) => [words(name), value])) : null,
      h("h3", {}, "Retrieved items"), neighbours(view, answer.items, infos),
      h("div", { class: "between" }, h("a", { href: back }, "Open in Try it"), h("button", { class: "link", type: "button", onclick: () => clear(view) }, "Clear selection")));
  } catch (error) {
    if (mine === view.turn) put(view.side, trouble(error));
  }
}

function marks(view, center, items, infos) {
  const near = items.map((item) => infos.get(item.item_id)).filter((info) => info.place);
  view.scatter.mark([...near.map((info) => ({ x: info.place[0], y: info.place[1], kind: "near" })), ...(center ? [center] : [])]);
}

function neighbours(view, items, infos) {
  return h("ol", { class: "list" }, items.map((item) => {
    const info = infos.get(item.item_id);
    return h("li", {}, h("button", { type: "button", onclick: () => chooseItem(view, item.item_id, true) },
      cover(info), h("span", { class: "name", title: info.name }, info.name), h("span", { class: "number quiet small" }, score(item.score))));
  }));
}
