/* Ticks of a linear axis. */

/** About `wanted` round numbers that span `low` to `high`, and as text with the digits they need. */
export function ticks(low, high, wanted = 3) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => span / size <= wanted);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (String(step / power).startsWith("2.5") ? 1 : 0);
  return Array.from({ length: Math.max(2, last - first + 1) }, (_, n) => ({ value: (first + n) * step, text: ((first + n) * step).toFixed(digits).replace("-", "\u2212") }));
}
