/* The course: nine steps, each ending in a node of the architecture that the learner has built. */

import * as api from "../shared/api.js";
import { bars, head, trouble } from "../shared/components.js";
import { fresh, h, inline, prose, put } from "../shared/dom.js";
import { compileCard } from "./compile.js";
import { diagram } from "./diagram.js";
import * as progress from "./progress.js";
import { questions } from "./questions.js";
import { sections } from "./sections.js";
import { snippets } from "./snippets.js";

export default async function show(root, slug) {
  const { enabled, steps } = await api.course();
  if (slug && !steps.some((step) => step.slug === slug)) {
    location.replace(`#/glossary/${encodeURIComponent(slug)}`); // a link from before the course
    return null;
  }
  const step = steps.find((one) => one.slug === slug) ?? steps.find((one) => !progress.isLit(one.slug)) ?? steps[0];
  const at = steps.indexOf(step);
  const built = h("div", { class: "built-side" });
  const list = h("div", { class: "contents sticky" });
  const redraw = () => { put(built, diagram(steps, step.slug, built.querySelector("details")?.open)); put(list, contents(steps, step, redraw)); };
  const { card, end } = compileCard(step, enabled, redraw);
  const example = h("section", { class: "card here", "aria-label": "On this bundle", "aria-busy": "true" });
  const deeper = h("p", { class: "small", "aria-busy": "true" });
  progress.keepAt({ slug: step.slug, title: step.title, number: at + 1 });
  redraw();
  put(root,
    head("Learn by building", "Nine steps from an id to a recommender. In each one you make a choice, and the service builds and trains a small model with it.", sections("learn")),
    h("div", { class: "learn course" }, list, built,
      h("article", { class: "article" },
        h("div", {}, h("p", { class: "quiet small" }, `Step ${at + 1} of ${steps.length}`), h("h2", { class: "step-title" }, step.title)),
        h("div", { class: "text" }, prose(step.text)),
        card,
        example,
        h("h3", { class: "group" }, "Questions"), questions(step, redraw),
        h("h3", { class: "group" }, "Programs"), snippets(step, enabled),
        deeper,
        step === steps.at(-1) ? ending() : null,
        h("nav", { class: "turn", "aria-label": "Previous and next step" }, turn(steps[at - 1], "previous"), turn(steps[at + 1], "next")))));
  fillExample(example, step.terms);
  fillLesson(deeper, step.lesson);
  return end;
}

function contents(steps, now, redraw) {
  const id = fresh("step");
  return [
    h("nav", { "aria-label": "Steps" }, h("ol", {}, steps.map((step, n) => h("li", {}, h("a", { href: `#/learn/${step.slug}`, "aria-current": step === now ? "page" : undefined },
      h("span", { class: progress.isLit(step.slug) ? "mark lit" : "mark", "aria-hidden": "true" }, progress.isLit(step.slug) ? "✓" : String(n + 1)), h("span", {}, step.title),
      progress.isLit(step.slug) ? h("span", { class: "visually-hidden" }, " (built)") : null))))),
    h("label", { class: "visually-hidden", for: id }, "Step"),
    h("select", { class: "input", id, onchange: (event) => { location.hash = `#/learn/${event.target.value}`; } }, steps.map((step, n) => h("option", { value: step.slug, selected: step === now }, `${n + 1}. ${step.title}${progress.isLit(step.slug) ? " ✓" : ""}`))),
    h("p", { class: "score-line small quiet" }, `${progress.scoreLine(steps)} `,
      h("button", { class: "link", type: "button", onclick: () => { if (confirm("Forget all results and answers of this course?")) { progress.clear(); redraw(); } } }, "Start over")),
  ];
}

function turn(step, where) {
  if (!step) return h("span");
  return h("a", { href: `#/learn/${step.slug}` }, where === "previous" ? `← ${step.title}` : `${step.title} →`);
}

/** What comes after the last step. */
function ending() {
  return h("section", { class: "card panel", "aria-label": "The end of the course" },
    h("h3", {}, "The end of the course"),
    h("p", {}, "What you have seen: ids become rows, and a dot product of two rows is a score; dense layers with activations compute such vectors from features, so that new users and items have one, too; a loss with negatives trains them, an index finds the best items, a ranker orders them again; and a fair comparison says whether any of it was worth it."),
    h("p", {}, "Where to go from here:"),
    h("ul", {},
      h("li", {}, h("a", { href: "#/lessons" }, "The lessons"), " have the formulas, and programs to run and change."),
      h("li", {}, h("a", { href: "#/quality" }, "Quality"), " shows how the model that is served here compares with the same baselines."),
      h("li", {}, inline("Your own data: `twotower init shop --interactions YOUR.csv` writes a config, `twotower train shop/twotower.toml --out shop/bundle` trains and compares, `twotower serve shop/bundle` opens this studio on it."))));
}

async function fillLesson(place, slug) {
  try {
    const lesson = (await api.lessons()).find((one) => one.slug === slug);
    put(place, "In more depth: the lesson ", h("a", { href: `#/lessons/${slug}` }, lesson.title), ".");
  } catch (error) {
    put(place, trouble(error));
  } finally {
    place.setAttribute("aria-busy", "false");
  }
}

async function fillExample(here, terms) {
  const title = [h("h3", {}, h("span", { class: "badge item" }, "On this bundle")),
    h("p", { class: "small quiet" }, "The same idea in the model that this service serves: another shop and another model than in this course.")];
  try {
    const [found, all] = await Promise.all([api.example(terms[0]), api.terms()]);
    const titles = new Map(all.map(({ slug, title: name }) => [slug, name]));
    put(here, ...title, h("p", {}, found.text), found.bars.length ? bars(found.bars, { tone: "item", label: "Values from this bundle" }) : null,
      h("p", { class: "small" }, "In the glossary: ", terms.map((term, n) => [n ? ", " : "", h("a", { href: `#/glossary/${term}` }, titles.get(term))]), "."));
  } catch (error) {
    put(here, ...title, trouble(error));
  } finally {
    here.setAttribute("aria-busy", "false");
  }
}
