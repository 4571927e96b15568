/* Where the one who asks stands among the items, and where they stood before. */

import * as api from "./api.js";
import { h, put } from "./dom.js";
import { angle, project } from "./projection.js";
import { Scatter, token } from "./scatter.js";

const KEPT = 12;

export function whereCard() {
  const canvas = h("canvas", { role: "img", "aria-label": "The query vector among the items" });
  const words = h("p", { class: "quiet small" });
  const element = h("section", { class: "card panel where", "aria-label": "Where they stand" },
    h("header", {}, h("h2", {}, "The query vector"), h("a", { class: "small", href: "#/map/now" }, "On the map")), h("div", { class: "mini" }, canvas), words);
  const scatter = new Scatter(canvas);
  scatter.radius = 1.2;
  let points = null, last = null, trail = [];

  const paint = () => {
    scatter.ground = token("--card");
    scatter.userColour = token("--query");
    if (points) scatter.colours(points.x.map(() => 0), [token("--dust")]);
  };
  /** Look again; gives by how many degrees the vector has turned. `anew` forgets the way so far. */
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
    put(words, vector ? "Each click takes it a step further." : "Nothing is known yet, so there is none.");
    return turned;
  };
  addEventListener("themechange", paint);
  return { element, refresh, end: () => { removeEventListener("themechange", paint); scatter.end(); } };
}
