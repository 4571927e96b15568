/* What the learner has done, kept in this browser only. */

const KEY = "twotower-course";

const empty = () => ({ results: {}, answers: {}, shown: {}, runs: {}, chosen: {}, at: null });
/** So many results of a step are kept to be compared. */
const RUNS = 8;

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return { ...empty(), ...kept };
  } catch {
    return empty();
  }
}

let state = load();

function save() {
  try { localStorage.setItem(KEY, JSON.stringify(state)); } catch { /* without storage, until the page is closed */ }
}

/** The last result of a step that worked, or the last one, or undefined. */
export const result = (slug) => state.results[slug];

/** Whether a step's node is lit: some choice of the learner has worked. */
export const isLit = (slug) => Boolean(state.results[slug]?.lit);

/** Keep a result; a node that is lit stays lit, with the last shapes that worked. */
export function keep(slug, { works, node, ndcg, choices }) {
  const before = state.results[slug];
  state.results[slug] = works || !before?.lit ? { lit: works, node, ndcg, choices } : before;
  save();
}

/** What the page shows of the last training of a step: `{ event, points }`, or undefined. */
export const shown = (slug) => state.shown[slug];

/** Keep what the page shows, and the result beside those of other choices of the step. */
export function keepShown(slug, event, points) {
  state.shown[slug] = { event, points };
  const key = JSON.stringify(event.choices);
  const others = (state.runs[slug] ?? []).filter(({ choices }) => JSON.stringify(choices) !== key);
  state.runs[slug] = [...others, { choices: event.choices, works: event.works, ndcg: event.ndcg, also: event.also, params: event.node?.params }].slice(-RUNS);
  save();
}

/** The results of a step, one for each choice, the latest last. */
export const runs = (slug) => state.runs[slug] ?? [];

/** The step that was shown last, `{ slug, title, number }`, or null. */
export const at = () => state.at;

/** Remember the step; a visit alone is nothing that a browser has to keep. */
export function keepAt(step) {
  state.at = step;
}

/** The number of the answer that was chosen last, or undefined. */
export const chosen = (slug, number) => state.chosen[slug]?.[number];

export function keepChosen(slug, number, place) {
  state.chosen[slug] ??= {};
  state.chosen[slug][number] = place;
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

/** The score in words. */
export function scoreLine(steps) {
  const { right, answered } = score(), total = steps.reduce((sum, step) => sum + step.questions.length, 0);
  return `Questions: ${right} of ${total} right at the first try${answered < total ? `, ${total - answered} to go` : ""}.`;
}

export function clear() {
  state = empty();
  save();
}
