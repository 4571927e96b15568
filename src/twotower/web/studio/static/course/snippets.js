/* Programs that can be copied and run; the learner may change their numbers. */

import { codeLines, trouble } from "../shared/components.js";
import { fresh, h, inline, put } from "../shared/dom.js";
import { follow } from "./stream.js";

export function snippets(step, enabled) {
  return step.snippets.map((snippet, number) => {
    const code = h("code", {});
    const inputs = snippet.numbers.map((field) => {
      const id = fresh("number");
      const control = h("input", { class: "input", id, type: "number", required: true, min: field.minimum, max: field.maximum, step: field.whole ? 1 : "any", value: field.default, oninput: () => draw() });
      return { field, control, element: h("div", { class: "field" }, h("label", { for: id }, field.label), control) };
    });
    const text = () => filled(snippet, inputs.map(({ control }) => control.valueAsNumber));
    const draw = () => put(code, codeLines(text()));
    const output = h("div", { "aria-live": "polite" });
    const note = h("span", { class: "quiet small", role: "status" });
    const copy = h("button", { class: "button", type: "button", onclick: () => copied(text(), note) }, "Copy");
    const run = h("button", { class: "button", type: "submit", disabled: !enabled }, "Run");
    const submit = async (event) => {
      event.preventDefault();
      run.disabled = true;
      note.textContent = "running …";
      const values = Object.fromEntries(inputs.map(({ field, control }) => [field.name, control.valueAsNumber]));
      const heard = (told) => {
        if (told.event === "waiting") note.textContent = `${told.before} before you …`;
        else if (told.event === "output") put(output, h("pre", { class: "printed", tabindex: "0", "aria-label": "Output" }, h("code", {}, codeLines(told.output))), explained(snippet, inputs));
        else if (told.event !== "started") put(output, trouble(told));
      };
      try {
        await follow("/studio/api/course/run", { step: step.slug, number, values }, heard);
      } catch (error) {
        put(output, trouble(error));
      } finally {
        note.textContent = "";
        const hadFocus = document.activeElement === document.body;
        run.disabled = false;
        if (hadFocus) run.focus({ preventScroll: true });
      }
    };
    draw();
    return h("form", { class: "card panel snippet", onsubmit: submit, "aria-label": snippet.title },
      h("h3", {}, snippet.title), inputs.length ? h("div", { class: "numbers" }, inputs.map(({ element }) => element)) : null,
      h("pre", { tabindex: "0", "aria-label": "Program" }, code), h("div", { class: "run-bar" }, copy, run, note), output);
  });
}

/** The program with values for its numbers, by default those as given. */
export function filled(snippet, values = snippet.numbers.map((field) => field.default)) {
  const written = new Map(snippet.numbers.map(({ name, whole }, n) => [name, literal(values[n], whole)]));
  return snippet.code.trim().replace(/\$([a-z_]+)/g, (_, name) => written.get(name));
}

/** What to see in the output, and what other numbers change. */
function explained(snippet, inputs) {
  const asGiven = inputs.every(({ field, control }) => control.valueAsNumber === field.default);
  return h("div", { class: "explained" },
    h("p", {}, h("strong", {}, asGiven ? "What you see: " : "With the numbers as given: "), inline(snippet.see)),
    h("p", {}, h("strong", {}, "Change the numbers: "), inline(snippet.change)));
}

/** A number as Python writes it. */
function literal(value, whole) {
  if (!Number.isFinite(value)) return "…";
  return whole || !Number.isInteger(value) ? String(value) : `${value}.0`;
}

async function copied(text, note) {
  try {
    await navigator.clipboard.writeText(text);
    note.textContent = "copied";
  } catch {
    note.textContent = "this browser does not allow copying here: select the program and copy it";
  }
}
