/* The Compile card: the learner's choice, the training as it goes, and what came of it. */

import { bars, facts, trouble } from "../shared/components.js";
import { fresh, h, inline, prose, put } from "../shared/dom.js";
import { count } from "../shared/format.js";
import { chart } from "./chart.js";
import * as progress from "./progress.js";
import { follow } from "./stream.js";

const LETTERS = [["B", "number of rows in a batch"], ["N", "number of items"]];

/** `done(result)` is called with each result. */
export function compileCard(step, enabled, done) {
  const last = progress.shown(step.slug);
  const kept = (last?.event ?? progress.result(step.slug))?.choices ?? {};
  const inputs = step.fields.map((field) => input(field, kept[field.name] ?? field.default));
  const compile = h("button", { class: "button strong", type: "submit" }, "Compile");
  const cancel = h("button", { class: "button", type: "button", hidden: true, onclick: () => stop?.abort() }, "Cancel");
  const status = h("span", { class: "quiet small", role: "status" });
  const elapsed = h("span", { class: "elapsed quiet small number", "aria-hidden": "true" });
  const outcome = h("div", { class: "outcome", "aria-live": "polite" });
  const curves = chart();
  let stop = null, timer = 0;

  const busy = (is) => {
    const start = Date.now(), tick = () => { elapsed.textContent = `${Math.round((Date.now() - start) / 1000)} s`; };
    clearInterval(timer);
    elapsed.textContent = "";
    if (is) { tick(); timer = setInterval(tick, 1000); }
    compile.disabled = is;
    cancel.hidden = !is;
    for (const { control } of inputs) control.disabled = is;
  };
  const heard = (event) => {
    if (event.event === "waiting") status.textContent = `${event.before} before you …`;
    else if (event.event === "started") status.textContent = "building …";
    else if (event.event === "progress") {
      status.textContent = `${event.stage}, ${event.epoch} of ${event.epochs}`;
      curves.add(event);
    } else if (event.event === "result") {
      status.textContent = `${event.seconds.toFixed(1)} s`;
      progress.keep(step.slug, event);
      progress.keepShown(step.slug, event, curves.points());
      put(outcome, results(event, step));
      done(event);
    } else if (event.event === "cancelled") status.textContent = "cancelled";
    else { status.textContent = ""; put(outcome, trouble(event)); }
  };
  const submit = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(inputs.map(({ field, read }) => [field.name, read()]));
    stop = new AbortController();
    busy(true);
    curves.clear();
    put(outcome);
    status.textContent = "starting …";
    try {
      await follow("/studio/api/course/compile", { step: step.slug, values }, heard, stop.signal);
    } catch (error) {
      status.textContent = stop.signal.aborted ? "cancelled" : "";
      if (!stop.signal.aborted) put(outcome, trouble(error));
    } finally {
      const hadFocus = document.activeElement === cancel || document.activeElement === document.body;
      busy(false);
      stop = null;
      if (hadFocus) compile.focus({ preventScroll: true });
    }
  };
  const card = h("section", { class: "card here compile", "aria-label": "Compile" },
    h("h3", {}, h("span", { class: "badge item" }, "Compile")), h("p", { class: "task" }, inline(step.task)), h("p", {}, "Goal: ", inline(step.goal), "."),
    enabled ? h("form", { class: "choices", onsubmit: submit }, h("div", { class: "numbers" }, inputs.map(({ element }) => element)),
      h("div", { class: "run-bar" }, compile, cancel, status, elapsed)) : h("p", { class: "note" }, inline("This service does not train for learners. Start it with `twotower serve --learn`.")),
    curves.figure, outcome);
  if (last) {
    curves.show(last.points);
    put(outcome, results(last.event, step));
  }
  return { card, end: () => stop?.abort() };
}

function input(field, value) {
  const id = fresh("choice");
  const control = field.options
    ? h("select", { class: "input", id }, field.options.map((option) => h("option", { value: option.value, selected: option.value === value }, option.label)))
    : h("input", { class: "input", id, type: "number", required: true, min: field.minimum, max: field.maximum, step: field.whole ? 1 : "any", value });
  const read = () => (field.options ? control.value : control.valueAsNumber);
  return { field, control, read, element: h("div", { class: "field" }, h("label", { for: id }, field.label), control) };
}

/** What came of a training. */
export function results(event, step) {
  const entries = event.node ? [...event.node.shapes.map(([name, shape]) => [name, shape]), [`trained parameters (${event.node.counted})`, count(event.node.params)]] : [];
  const goal = event.works ? ["The goal is reached: ", inline(step.goal), ". "] : ["The goal is ", inline(step.goal), ". "];
  return [
    h("div", { class: event.works ? "told works" : "told" }, h("p", {}, h("strong", {}, event.works ? "It works. " : "Not yet. "), goal), prose(event.text),
      event.works ? h("p", {}, `The part “${step.node}” is lit in what you have built.`) : null),
    event.error ? h("pre", { class: "printed", tabindex: "0", "aria-label": "Error" }, h("code", {}, event.error)) : null,
    h("div", { class: "found" },
      event.figures.map((figure) => h("div", { class: "figure" }, h("h4", {}, figure.title), bars(figure.bars, { tone: "item", label: figure.title, show: alike(figure.bars) }))),
      entries.length ? h("div", { class: "figure" }, h("h4", {}, "Sizes"), facts(entries), letters(event.node)) : null),
    choicesSoFar(step),
  ];
}

/** The results of this step's choices side by side, without the columns in which all are the same. */
function choicesSoFar(step) {
  const runs = progress.runs(step.slug);
  if (runs.length < 2) return null;
  const differ = (value) => new Set(runs.map(value)).size > 1;
  const named = (field, value) => field.options?.find((option) => option.value === value)?.label ?? String(value);
  const measured = runs.some(({ ndcg }) => Number.isFinite(ndcg)), also = runs.find((run) => run.also)?.also[0];
  const columns = [
    ...step.fields.filter(({ name }) => differ(({ choices }) => choices[name])).map((field) => [field.label.replace(/ \(.*\)$/, ""), ({ choices }) => named(field, choices[field.name])]),
    measured ? ["ndcg@10", ({ ndcg }) => (Number.isFinite(ndcg) ? ndcg.toFixed(3) : "–")] : null,
    also ? [also, (run) => (run.also ? run.also[1].toFixed(3) : "–")] : null,
    ["goal met", ({ works }) => (works ? "yes" : "no")],
    differ(({ params }) => params) ? ["parameters", ({ params }) => (params === undefined ? "–" : count(params)), "extra"] : null,
  ].filter(Boolean);
  return h("div", { class: "figure" }, h("h4", {}, "Your choices in this step", measured ? ", with ndcg@10 on the validation rows" : ""),
    h("div", { class: "scroll so-far", tabindex: "0", role: "group", "aria-label": "Your choices in this step" }, h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([name, , tone]) => h("th", { scope: "col", class: tone }, name)))),
      h("tbody", {}, runs.map((run) => h("tr", {}, columns.map(([, shown, tone]) => h("td", { class: tone }, shown(run)))))))));
}

/** What the letters in the shapes stand for. */
function letters({ shapes }) {
  const used = LETTERS.filter(([letter]) => shapes.some(([, shape]) => new RegExp(`\\b${letter}\\b`).test(shape)));
  return used.length ? h("p", { class: "quiet small" }, `${used.map(([letter, meaning]) => `${letter}: ${meaning}`).join("; ")}.`) : null;
}

/** How the values of a figure are written: all with the same number of decimals, as in the text. */
function alike(rows) {
  const values = rows.map(([, value]) => value), highest = Math.max(...values.map(Math.abs));
  const digits = values.every(Number.isInteger) ? 0 : highest < 5 ? 3 : 1;
  return (value) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
}
