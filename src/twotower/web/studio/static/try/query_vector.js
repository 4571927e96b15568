/* The query vector among the items, with its earlier positions. */

import * as api from "../shared/api.js";
import { h, put } from "../shared/dom.js";
import { angle, project } from "../shared/projection.js";
import { Scatter, token } from "../shared/scatter.js";

const KEPT = 12;

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
    points ??= await api.points().then((found) => { scatter.points(found.x, found.y); return found; });
    const vector = await api.vector(asker);
    if (anew) [trail, last] = [[], null];
    const turned = angle(last, vector);
    last = vector;
    if (vector) trail = [...trail, project(points, vector)].slice(-KEPT);
    const marks = vector ? trail.map(([x, y], n) => ({ x, y, kind: n === trail.length - 1 ? "user" : "past" })) : [];
    paint();
    scatter.mark(marks);
    put(words, vector ? "Each click moves it." : "Nothing is known about this user yet, so there is no query vector.");
    return turned;
  };
  addEventListener("themechange", paint);
  return { element, refresh, end: () => { removeEventListener("themechange", paint); scatter.end(); } };
}
