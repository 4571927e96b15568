/* The query vector among the items, with its earlier positions. */

import * as api from "../shared/api.js";
import { h, put } from "../shared/dom.js";
import { share } from "../shared/format.js";
import { Scatter, token } from "../shared/scatter.js";

const KEPT = 12; // positions

export function queryVectorCard() {
  const canvas = h("canvas", { role: "img", "aria-label": "The query vector among the items" });
  const words = h("p", { class: "quiet small" });
  const element = h("section", { class: "card panel vector", "aria-label": "Query vector" },
    h("header", {}, h("h2", {}, "Query vector"), h("a", { class: "small", href: "#/map/now" }, "Show on map")), h("div", { class: "mini" }, canvas), words);
  const scatter = new Scatter(canvas);
  scatter.radius = 1.2;
  let points = null, last = null, trail = [];

  const paint = () => {
    scatter.ground = token("--card");
    scatter.userColour = token("--query");
    if (points) scatter.colours(points.x.map(() => 0), [token("--dust")]);
  };
  /** Update the vector; returns by how many degrees it has turned. `anew` clears the trail. */
  const refresh = async (asker, anew) => {
    points ??= await api.points("components").then((found) => { scatter.points(found.x, found.y); return found; });
    const { vector, place } = await api.vector(asker, "components");
    if (anew) [trail, last] = [[], null];
    const turned = angle(last, vector);
    last = vector;
    trail = place ? [...trail, place].slice(-KEPT) : [];
    paint();
    scatter.mark(trail.map(([x, y], n) => ({ x, y, kind: n === trail.length - 1 ? "user" : "past" })));
    scatter.fit();
    put(words, !vector ? "Nothing is known about this user yet, so there is no query vector."
      : place ? `Among the items, by the two principal components: ${share(points.explained)} of the variance.`
        : "The query vector is of another version, which an experiment serves to this user.");
    return turned;
  };
  addEventListener("themechange", paint);
  return { element, refresh, end: () => { removeEventListener("themechange", paint); scatter.end(); } };
}

/** The angle between two vectors in degrees; 0 if one is missing. */
function angle(a, b) {
  if (!a || !b) return 0;
  const dot = a.reduce((sum, value, n) => sum + value * b[n], 0);
  const cosine = dot / (Math.hypot(...a) * Math.hypot(...b) || 1);
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}
