/* Components shared by several views. */

import { fresh, h, inline, put } from "./dom.js";
import { cell, score } from "./format.js";

/** From so many characters on, a word of a program may be broken. */
const LONG_WORD = 20;

/** The header of a view. */
export function head(title, lead, ...tools) {
  return h("header", { class: "head" },
    h("div", {}, h("h1", { tabindex: "-1" }, title), h("p", {}, inline(lead))), tools);
}

/** An error message with its fix. */
export function trouble(error) {
  const fix = error.fix ? ` ${error.fix[0].toUpperCase()}${error.fix.slice(1)}.` : "";
  return h("p", { class: "note bad", role: "alert" }, `${error.message}${fix}`);
}

/** A bar chart: label, bar and value per row; negative values extend to the left of zero. */
export function bars(rows, { tone = "", show = score, label = "" } = {}) {
  const known = rows.filter(([, value]) => Number.isFinite(value));
  const high = Math.max(0, ...known.map(([, value]) => value));
  const low = Math.min(0, ...known.map(([, value]) => value));
  const span = high - low || 1;
  return h("ul", { class: `bars ${tone}`, "aria-label": label || undefined }, rows.map(([name, value]) => {
    const there = Number.isFinite(value);
    const fill = h("span", { class: `fill${there && value < 0 ? " below" : ""}`, style: {
      left: `${(100 * ((there ? Math.min(value, 0) : 0) - low)) / span}%`,
      width: `${there ? (100 * Math.abs(value)) / span : 0}%`,
    } });
    return h("li", { class: "bar-row" }, h("span", { class: "name", title: name }, name),
      h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "number" }, there ? show(value) : "–"));
  }));
}

/** A program as elements, one a line: a long line is continued below its indentation, and a long
    word is broken after a sign. */
export function codeLines(text) {
  return text.split(/(?<=\n)/).map((line) => h("span", { class: "code-line", style: { "--indent": `${/^ */.exec(line)[0].length + 4}ch` } },
    line.split(/(?<=\s)(?=\S)/).map((word) => (word.length < LONG_WORD ? word : word.split(/(?<=[._=,([/])(?!\d)/).map((part, n) => [n ? h("wbr") : null, part])))));
}

export function facts(entries, tone = "") {
  return h("dl", { class: `facts ${tone}` }, entries.map(([name, value]) => [h("dt", {}, name), h("dd", {}, cell(value))]));
}

/** A segmented control: buttons of which exactly one is pressed. */
export function segments(label, options, chosen, choose) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label });
  const draw = (now) => put(group, options.map(([value, name]) => h("button", {
    type: "button", "aria-pressed": String(value === now),
    onclick: () => { draw(value); choose(value); group.querySelector("[aria-pressed=true]").focus(); },
  }, name)));
  draw(chosen);
  return group;
}

/** A text field with suggestions, by the combobox pattern: arrows, Enter, Escape.

    `find(text)` resolves to [{value, name, hint}]; `pick(option)` is called with the chosen one. */
export function combobox(label, placeholder, find, pick) {
  const id = fresh("combo");
  const input = h("input", { class: "input", id, type: "search", role: "combobox", placeholder, autocomplete: "off", spellcheck: "false",
    "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list" });
  const list = h("ul", { id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true });
  let options = [], at = -1, asked = 0, listed = null;

  const close = () => { list.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const mark = (place) => {
    at = place;
    [...list.children].forEach((child, n) => child.setAttribute("aria-selected", String(n === at)));
    if (at >= 0) { input.setAttribute("aria-activedescendant", list.children[at].id); list.children[at].scrollIntoView({ block: "nearest" }); }
  };
  const take = (option) => { close(); input.value = ""; pick(option); };
  const open = async () => {
    const mine = ++asked, text = input.value.trim();
    let found = [];
    try { found = await find(text); } catch { found = []; }
    if (mine !== asked || document.activeElement !== input) return;
    options = found;
    listed = text;
    at = -1;
    put(list, options.map((option, n) => h("li", { role: "option", id: `${id}-${n}`, "aria-selected": "false",
      onmousedown: (event) => { event.preventDefault(); take(option); } },
    h("span", {}, option.name), option.hint ? h("span", { class: "quiet" }, option.hint) : null)));
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
  };
  /* The typed text may be newer than the listed options: then search again before choosing one. */
  const enter = async () => {
    const text = input.value.trim();
    clearTimeout(timer);
    if (text && listed !== text) await open();
    if (listed === text && options.length) take(options[Math.max(at, 0)]);
    else if (text) take({ value: text, name: text });
  };
  let timer = 0;
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(open, 120); });
  input.addEventListener("focus", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) { open(); return; }
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark((at + step + options.length) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      enter();
    } else if (event.key === "Escape" && !list.hidden) { event.stopPropagation(); close(); }
  });
  return h("div", { class: "field combo" }, h("label", { for: id }, label), input, list);
}

/** A labelled select element. */
export function select(label, options, chosen, choose, { hide = false } = {}) {
  const id = fresh("select");
  return h("div", { class: "field" }, h("label", { for: id, class: hide ? "visually-hidden" : undefined }, label),
    h("select", { class: "input", id, onchange: (event) => choose(event.target.value) },
      options.map(([value, name]) => h("option", { value, selected: value === chosen }, name))));
}
