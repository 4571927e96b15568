/* Formatting of numbers and values. */

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);
export const compact = (value) => short.format(value);

export function score(value) {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) >= 10) return count(value);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 3).replace("-", "\u2212");
}

export function share(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(value < 0.1 ? 2 : 1)}%`;
}

/** A metric with four decimals. */
export const fourth = (value) => (Number.isFinite(value) ? value.toFixed(4).replace("-", "\u2212") : "–");

/** A p-value. */
export const pValue = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));

export function milliseconds(value) {
  if (value < 0.1) return `${Math.round(1000 * value)} µs`;
  return value < 10 ? `${value.toFixed(2)} ms` : `${Math.round(value)} ms`;
}

export const cell = (value) => {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return String(value);
};

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const words = (name) => String(name).replaceAll("_", " ");
