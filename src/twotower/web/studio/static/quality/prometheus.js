/* Parser for the Prometheus text format of `/metrics`. */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** name -> [{labels, value}] */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const match = LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return found;
}

/** Histograms of durations: [{name, labels, count, mean, quantile(q)}], in seconds. */
export function histograms(metrics) {
  const groups = new Map();
  for (const [name, samples] of metrics) {
    if (!name.endsWith("_seconds_bucket")) continue;
    for (const { labels: { le, ...labels }, value } of samples) {
      const key = JSON.stringify([name, labels]);
      if (!groups.has(key)) groups.set(key, { name: name.slice(0, -"_seconds_bucket".length), labels, buckets: [] });
      groups.get(key).buckets.push([le === "+Inf" ? Infinity : Number(le), value]);
    }
  }
  return [...groups.values()].map((group) => {
    group.buckets.sort((a, b) => a[0] - b[0]);
    const total = group.buckets.at(-1)[1];
    return { ...group, count: total, quantile: (part) => quantile(group.buckets, total, part) };
  }).filter(({ count }) => count > 0);
}

/** Linear interpolation within the bucket, as in Prometheus' `histogram_quantile`. */
function quantile(buckets, total, part) {
  const wanted = part * total;
  let below = 0, from = 0;
  for (const [bound, upTo] of buckets) {
    if (upTo >= wanted) {
      if (bound === Infinity) return from;
      return from + (bound - from) * (upTo > below ? (wanted - below) / (upTo - below) : 1);
    }
    [below, from] = [upTo, bound];
  }
  return from;
}
