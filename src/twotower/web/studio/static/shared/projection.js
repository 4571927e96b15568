/* Projection of a query vector onto the map: by its direction, without the bias coordinate, as for
   the items. */

export function project(points, vector) {
  const taste = vector.slice(0, points.mean.length);
  const length = Math.hypot(...taste) || 1;
  return points.axes.map((axis) => axis.reduce((sum, weight, n) => sum + weight * (taste[n] / length - points.mean[n]), 0));
}

/** The angle between two vectors in degrees; 0 if one is missing. */
export function angle(a, b) {
  if (!a || !b) return 0;
  const dot = a.reduce((sum, value, n) => sum + value * b[n], 0);
  const cosine = dot / (Math.hypot(...a) * Math.hypot(...b) || 1);
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}
