/* Questions with answers to choose from; each answer explains itself when it is chosen. */

import { h, inline, put } from "../shared/dom.js";
import * as progress from "./progress.js";

export function questions(step, answered) {
  return step.questions.map((question, number) => {
    const why = h("p", { class: "why", role: "status" });
    const buttons = question.answers.map((answer) => {
      const button = h("button", { class: "answer-choice", type: "button", "aria-pressed": "false" }, inline(answer.text));
      button.addEventListener("click", () => {
        show(button, answer);
        progress.keepAnswer(step.slug, number, answer.right);
        progress.keepChosen(step.slug, number, question.answers.indexOf(answer));
        answered();
      });
      return button;
    });
    const show = (button, answer) => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      button.classList.add(answer.right ? "right" : "wrong");
      put(why, h("strong", {}, answer.right ? "✓ " : "✗ "), inline(answer.why));
    };
    const before = progress.chosen(step.slug, number);
    if (buttons[before]) show(buttons[before], question.answers[before]);
    return h("section", { class: "card question", "aria-label": `Question ${number + 1}` },
      h("h3", {}, h("span", { class: "badge" }, `Question ${number + 1}`)), h("p", { class: "q" }, inline(question.text)),
      h("div", { class: "answer-choices", role: "group", "aria-label": question.text.replaceAll("`", "") }, buttons), why);
  });
}
