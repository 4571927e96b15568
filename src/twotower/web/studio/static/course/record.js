/* The course as far as it is done, to be saved: the score, what was built, and each step with its result,
   its answers and its programs. */

import * as api from "../shared/api.js";
import { codeLines, head } from "../shared/components.js";
import { h, inline, prose } from "../shared/dom.js";
import { chart } from "./chart.js";
import { results } from "./compile.js";
import { diagram } from "./diagram.js";
import * as progress from "./progress.js";
import { filled } from "./snippets.js";

/** The finished steps, and the one that is shown. */
export async function record(shown) {
  const { steps } = await api.course();
  const kept = steps.filter(({ slug }) => slug === shown || progress.isLit(slug));
  const finished = kept.filter(({ slug }) => progress.isLit(slug)).length;
  return h("div", {},
    head("Learn by building", "Nine steps from an id to a recommender: in each one a choice is made, and a small model is built and trained with it."),
    h("p", { class: "score-line" }, `${finished} of ${steps.length} steps finished. ${progress.scoreLine(steps)}`),
    h("div", { class: "learn course record" },
      h("div", { class: "contents" }, h("ol", {}, steps.map((step, n) => h("li", {}, h("span", {}, h("span", { class: progress.isLit(step.slug) ? "mark lit" : "mark" }, progress.isLit(step.slug) ? "\u2713" : String(n + 1)), h("span", {}, step.title)))))),
      h("div", { class: "built-side" }, diagram(steps, null, true)),
      h("div", { class: "article" }, kept.map((step) => done(step, steps.indexOf(step) + 1, steps.length)))));
}

function done(step, number, total) {
  const last = progress.shown(step.slug);
  const curves = chart();
  if (last) curves.show(last.points);
  return h("article", { class: "article" },
    h("div", {}, h("p", { class: "quiet small" }, `Step ${number} of ${total}`), h("h2", { class: "step-title" }, step.title)),
    h("div", { class: "text" }, prose(step.text)),
    h("section", { class: "card here compile" }, h("p", { class: "task" }, inline(step.task)), h("p", {}, "Goal: ", inline(step.goal), "."),
      last ? [curves.figure, h("div", { class: "outcome" }, results(last.event, step))] : h("p", { class: "quiet" }, "Not compiled yet.")),
    step.questions.map((question, place) => asked(step.slug, question, place)),
    step.snippets.map((snippet) => h("section", { class: "card panel snippet" }, h("h3", {}, snippet.title), h("pre", {}, h("code", {}, codeLines(filled(snippet)))),
      h("p", {}, inline(snippet.see)))));
}

function asked(slug, question, place) {
  const chosen = question.answers[progress.chosen(slug, place)];
  const first = progress.answer(slug, place);
  return h("section", { class: "card question" }, h("h3", {}, `Question ${place + 1}`), h("p", { class: "q" }, inline(question.text)),
    h("ul", { class: "answer-choices" }, question.answers.map((answer) => h("li", { class: `answer-choice${answer !== chosen ? "" : answer.right ? " right" : " wrong"}` }, inline(answer.text)))),
    chosen ? h("p", { class: "why" }, chosen.right ? "\u2713 " : "\u2717 ", inline(chosen.why)) : null,
    h("p", { class: "quiet small" }, first === undefined ? "Not answered yet." : first ? "Right at the first try." : "Not right at the first try."));
}
