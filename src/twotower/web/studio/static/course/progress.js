/* What the learner has done, kept in this browser only. */

const KEY = "twotower-course";

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return { results: {}, answers: {}, ...kept };
  } catch {
    return { results: {}, answers: {} };
  }
}

let state = load();

function save() {
  try { localStorage.setItem(KEY, JSON.stringify(state)); } catch { /* without storage, until the page is closed */ }
}

/** The last result of a step, or undefined. */
export const result = (slug) => state.results[slug];

/** Whether a step's node is lit: some choice of the learner has worked. */
export const isLit = (slug) => Boolean(state.results[slug]?.lit);

/** Keep a result; a node that is lit stays lit, with the last shapes that worked. */
export function keep(slug, { works, node, ndcg, choices }) {
  const before = state.results[slug];
  state.results[slug] = works || !before?.lit ? { lit: works, node, ndcg, choices } : before;
  save();
}

/** The first answer to a question of a step, or undefined. */
export const answer = (slug, number) => state.answers[slug]?.[number];

/** Keep an answer; only the first one counts. */
export function keepAnswer(slug, number, right) {
  state.answers[slug] ??= {};
  state.answers[slug][number] ??= right;
  save();
}

/** Questions answered right at the first try, and answered at all. */
export function score() {
  const answers = Object.values(state.answers).flatMap((step) => Object.values(step));
  return { right: answers.filter(Boolean).length, answered: answers.length };
}

export function clear() {
  state = { results: {}, answers: {} };
  save();
}
