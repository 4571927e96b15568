/* The glossary: each term has a program, an example from this bundle, and a question. */

import * as api from "../shared/api.js";
import { fresh, h, inline, prose, put } from "../shared/dom.js";
import { bars, codeLines, head, trouble } from "../shared/components.js";
import * as progress from "../course/progress.js";
import { sections } from "../course/sections.js";

export default async function show(root, slug) {
  const terms = await api.terms();
  const at = Math.max(0, terms.findIndex((term) => term.slug === slug));
  const term = terms[at];
  const titles = new Map(terms.map(({ slug: own, title }) => [own, title]));
  const here = h("section", { class: "card here", "aria-label": "On this bundle", "aria-busy": "true" }, h("h2", {}, h("span", { class: "badge item" }, "On this bundle")), h("p", { class: "quiet" }, "computing …"));
  put(root,
    head("Glossary", "The terms of the field, one page each, with a program and its output, an example from the bundle served here, and a question.", sections("glossary")),
    h("div", { class: "learn" }, contents(terms, term),
      h("article", { class: "article" },
        back(),
        h("div", {}, h("p", { class: "quiet small" }, term.chapter), h("h2", { style: { "font-size": "1.7rem", "letter-spacing": "-0.025em" } }, term.title)),
        h("div", { class: "text" }, prose(term.text)),
        here,
        h("section", {}, h("h3", {}, "Program"), h("pre", { tabindex: "0", "aria-label": "Program" }, h("code", {}, codeLines(term.code))), h("h3", {}, "Output"), h("pre", { class: "printed", tabindex: "0", "aria-label": "Output" }, h("code", {}, codeLines(term.printed)))),
        question(term),
        h("p", {}, "See also: ", term.see.map((other, n) => [n ? ", " : "", h("a", { href: `#/glossary/${other}` }, titles.get(other))]), "."),
        h("nav", { class: "turn", "aria-label": "Previous and next term" }, turn(terms[at - 1], "←", "previous"), turn(terms[at + 1], "→", "next")))));
  fillExample(here, term);
}

/** The way back to the step of the course that was shown last; it is as it was left. */
function back() {
  const step = progress.at();
  return step ? h("p", {}, h("a", { href: `#/learn/${step.slug}` }, `← Back to step ${step.number} of the course: ${step.title}`)) : null;
}

function contents(terms, now) {
  const chapters = [...new Set(terms.map(({ chapter }) => chapter))];
  const id = fresh("term");
  return h("div", { class: "contents sticky" },
    h("nav", { "aria-label": "Terms" }, chapters.map((chapter) => h("div", { style: { "margin-bottom": "1.1rem" } }, h("h2", {}, chapter), h("ul", {}, terms.filter((term) => term.chapter === chapter).map((term) => h("li", {}, h("a", {
      href: `#/glossary/${term.slug}`, "aria-current": term === now ? "page" : undefined }, term.title))))))),
    h("label", { class: "visually-hidden", for: id }, "Term"),
    h("select", { class: "input", id, onchange: (event) => { location.hash = `#/glossary/${event.target.value}`; } }, chapters.map((chapter) => h("optgroup", { label: chapter },
      terms.filter((term) => term.chapter === chapter).map((term) => h("option", { value: term.slug, selected: term === now }, term.title))))));
}

function question(term) {
  const answer = h("p", { hidden: true }, inline(term.answer));
  const button = h("button", { class: "button", type: "button", "aria-expanded": "false", style: { "justify-self": "start" }, onclick: () => {
    answer.hidden = !answer.hidden;
    button.setAttribute("aria-expanded", String(!answer.hidden));
    button.textContent = answer.hidden ? "Show the answer" : "Hide the answer";
  } }, "Show the answer");
  return h("section", { class: "card question", "aria-label": "Question" }, h("h3", {}, h("span", { class: "badge" }, "Question")), h("p", { class: "q" }, inline(term.question)), button, answer);
}

function turn(term, arrow, where) {
  if (!term) return h("span");
  return h("a", { href: `#/glossary/${term.slug}` }, where === "previous" ? `${arrow} ${term.title}` : `${term.title} ${arrow}`);
}

async function fillExample(here, term) {
  try {
    const found = await api.example(term.slug);
    put(here, h("h2", {}, h("span", { class: "badge item" }, "On this bundle")), h("p", {}, found.text), found.bars.length ? bars(found.bars, { tone: "item", label: "Values from this bundle", show: figure }) : null);
  } catch (error) {
    put(here, trouble(error));
  } finally {
    here.setAttribute("aria-busy", "false");
  }
}

const figure = (value) => (Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString());
