/* Filters: one condition per column, applied inside the search. */

import { h } from "../shared/dom.js";
import { cell, words } from "../shared/format.js";

const SHOWN = 12;

export function filterPanel(state, bundle, changed) {
  const columns = bundle.item_columns.filter(({ kind, values: some }) => kind === "range" || (kind === "values" && some.length)).slice(0, 8);
  if (!columns.length) return null;
  const body = h("div", { class: "filters" });
  const summary = h("span", {});
  const count = () => { const number = Object.keys(state.filters).length; summary.textContent = number ? `Filters (${number})` : "Filters"; };
  const set = (name, conditions) => {
    if (conditions.length) state.filters[name] = conditions;
    else delete state.filters[name];
    count();
    changed();
  };
  const draw = () => body.replaceChildren(...columns.map((column) => (column.kind === "values" ? values(column, state, set) : bounds(column, state, set))));
  const clear = h("button", { class: "link", type: "button", onclick: () => { state.filters = {}; count(); draw(); changed(); } }, "Clear filters");
  draw();
  count();
  return h("section", { class: "card panel" }, h("details", { open: Object.keys(state.filters).length > 0 }, h("summary", {}, summary), h("div", { class: "side", style: { "margin-top": "0.9rem" } },
    h("p", { class: "quiet small" }, "Applied before the top items are selected, so the list stays full."), body, clear)));
}

function values(column, state, set) {
  const chosen = new Set(state.filters[column.name]?.[0]?.in ?? []);
  return h("fieldset", { class: "filter field" }, h("legend", {}, words(column.name), column.values.length > SHOWN ? h("span", { class: "quiet" }, `, the ${SHOWN} most frequent`) : null), h("div", { class: "chips" }, column.values.slice(0, SHOWN).map((value) => {
    const chip = h("button", { class: "chip", type: "button", "aria-pressed": String(chosen.has(value)), onclick: () => {
      if (!chosen.delete(value)) chosen.add(value);
      chip.setAttribute("aria-pressed", String(chosen.has(value)));
      set(column.name, chosen.size ? [{ column: column.name, in: [...chosen] }] : []);
    } }, cell(value));
    return chip;
  })));
}

function bounds(column, state, set) {
  const now = state.filters[column.name]?.[0]?.range ?? {};
  const input = (side, label) => h("input", { class: "input", type: "number", step: "any", "aria-label": `${words(column.name)}, ${label}`,
    placeholder: cell(column[side === "min" ? "low" : "high"]), value: now[side] ?? "", oninput: () => {
      const range = {};
      for (const [key, element] of Object.entries(inputs)) if (element.value !== "" && Number.isFinite(Number(element.value))) range[key] = Number(element.value);
      set(column.name, Object.keys(range).length ? [{ column: column.name, range }] : []);
    } });
  const inputs = { min: input("min", "at least"), max: input("max", "at most") };
  return h("fieldset", { class: "filter field" }, h("legend", {}, words(column.name)), h("div", { class: "pair" }, inputs.min, h("span", { class: "quiet small" }, "to"), inputs.max));
}
