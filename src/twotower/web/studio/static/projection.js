/* A query vector on the map: by its direction in the coordinates of taste, as the items are. */

export function project(points, vector) {
  const taste = vector.slice(0, points.mean.length);
  const length = Math.hypot(...taste) || 1;
  return points.axes.map((axis) => axis.reduce((sum, weight, n) => sum + weight * (taste[n] / length - points.mean[n]), 0));
}

/** Degrees between two vectors; 0 where one is not known. */
export function angle(a, b) {
  if (!a || !b) return 0;
  const dot = a.reduce((sum, value, n) => sum + value * b[n], 0);
  const cosine = dot / (Math.hypot(...a) * Math.hypot(...b) || 1);
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}
