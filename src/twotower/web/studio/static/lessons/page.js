/* Lessons: pages with formulas, plots, programs with their output, and exercises. */

import * as api from "../shared/api.js";
import { bars, codeLines, head, trouble } from "../shared/components.js";
import { sections } from "../course/sections.js";
import { build } from "../shared/tree.js";
import { fresh, h, put } from "../shared/dom.js";
import { shareButtons } from "../share/page.js";

export default async function show(root, slug) {
  const lessons = await api.lessons();
  const at = Math.max(0, lessons.findIndex((lesson) => lesson.slug === slug));
  const lesson = lessons[at];
  const { content } = await api.lesson(lesson.slug);
  const article = h("article", { class: "article lesson", "aria-label": lesson.title }, build(content));
  article.querySelector("h1").replaceWith(h("h2", { class: "lesson-title" }, lesson.title));
  put(root,
    head("Lessons", "Deep learning for recommender systems in eight lessons: formulas, programs with their output, plots, and exercises with solutions.",
      sections("lessons"), shareButtons(root, lesson.title, lesson.slug, () => api.lessonNotebook(lesson.slug))),
    h("div", { class: "learn" }, contents(lessons, lesson),
      h("div", { class: "lesson-column" }, article,
        h("nav", { class: "turn", "aria-label": "Previous and next lesson" }, turn(lessons[at - 1], "←"), turn(lessons[at + 1], "→", true)))));
  dress(article);
}

function contents(lessons, now) {
  const id = fresh("lesson");
  const href = (lesson) => `#/lessons/${lesson.slug}`;
  return h("div", { class: "contents sticky" },
    h("nav", { "aria-label": "Lessons" }, h("ul", {}, lessons.map((lesson) => h("li", {}, h("a", { href: href(lesson), "aria-current": lesson === now ? "page" : undefined }, lesson.title))))),
    h("label", { class: "visually-hidden", for: id }, "Lesson"),
    h("select", { class: "input", id, onchange: (event) => { location.hash = `#/lessons/${event.target.value}`; } },
      lessons.map((lesson) => h("option", { value: lesson.slug, selected: lesson === now }, lesson.title))));
}

const turn = (lesson, arrow, after) => (lesson ? h("a", { href: `#/lessons/${lesson.slug}` }, after ? `${lesson.title} ${arrow}` : `${arrow} ${lesson.title}`) : h("span"));

/* What the page adds to the text: buttons that copy, links that leave, examples of this bundle. */
function dress(article) {
  let program = 0;
  for (const pre of article.querySelectorAll("pre")) {
    const printed = pre.querySelector("code.language-text") !== null;
    pre.tabIndex = 0;
    pre.setAttribute("role", "group");
    if (!printed) program += 1;
    pre.setAttribute("aria-label", `${printed ? "Output of program" : "Program"} ${program}`);
    const code = pre.querySelector("code");
    put(code, codeLines(code.textContent));
    if (printed) pre.classList.add("printed");
    else pre.before(copyButton(pre, program));
  }
  for (const link of article.querySelectorAll("a[href^='http']")) Object.assign(link, { rel: "noreferrer", target: "_blank" });
  for (const math of article.querySelectorAll("math[display=block]")) {
    const box = h("div", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" });
    math.replaceWith(box);
    box.append(math);
  }
  for (const place of article.querySelectorAll("[data-bundle]")) example(place);
}

function copyButton(pre, number) {
  const button = h("button", { class: "link copy", type: "button", "aria-label": `Copy program ${number}`, onclick: async () => {
    // A page that came by plain HTTP from another machine may not write to the clipboard.
    if (navigator.clipboard) await navigator.clipboard.writeText(pre.textContent);
    else getSelection().selectAllChildren(pre);
    button.textContent = navigator.clipboard ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return button;
}

async function example(place) {
  const title = h("h2", {}, h("span", { class: "badge item" }, "On this bundle"));
  const card = h("section", { class: "card here", "aria-label": "On this bundle", "aria-busy": "true" }, title, h("p", { class: "quiet" }, "computing …"));
  place.replaceWith(card);
  try {
    const found = await api.example(place.dataset.bundle);
    put(card, title, h("p", {}, found.text), found.bars.length ? bars(found.bars, { tone: "item", label: "Values from this bundle", show: figure }) : null);
  } catch (error) {
    put(card, trouble(error));
  } finally {
    card.setAttribute("aria-busy", "false");
  }
}

const figure = (value) => (Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString());
