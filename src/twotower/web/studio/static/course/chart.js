/* Loss and ndcg of each epoch, drawn while a model trains. Each curve has a scale of its own. */

import { h, put, svg } from "../shared/dom.js";

const WIDTH = 600, HEIGHT = 170, LEFT = 12, RIGHT = 12, TOP = 14, BOTTOM = 24;

export function chart() {
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "No epoch yet" });
  const legend = h("p", { class: "curve-keys small" });
  const figure = h("figure", { class: "course-chart", hidden: true }, drawing, legend);
  let points = [], stage = "";

  const draw = () => {
    const epochs = points.at(-1)?.epochs ?? 1;
    const x = (epoch) => LEFT + ((WIDTH - LEFT - RIGHT) * (epoch - 1)) / Math.max(1, epochs - 1);
    const curve = (name, tone) => {
      const known = points.filter((point) => Number.isFinite(point[name]));
      if (!known.length) return null;
      const values = known.map((point) => point[name]);
      const low = Math.min(...values), span = Math.max(...values) - low || 1;
      const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (value - low)) / span;
      const path = known.map((point, n) => `${n ? "L" : "M"}${x(point.epoch).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("");
      return [svg("path", { d: path, class: tone }), known.map((point) => svg("circle", { cx: x(point.epoch), cy: y(point[name]), r: 3.5, class: tone }))];
    };
    const ticks = points.map(({ epoch }) => epoch).filter((epoch) => epochs <= 12 || epoch % 5 === 0 || epoch === 1);
    put(drawing, svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM, class: "base" }),
      ticks.map((epoch) => svg("text", { x: x(epoch), y: HEIGHT - 6, class: "axis", "text-anchor": "middle" }, String(epoch))),
      curve("loss", "loss"), curve("ndcg", "ndcg"));
    const first = points[0], last = points.at(-1);
    const range = (name) => `${first[name].toFixed(3)} → ${last[name].toFixed(3)}`;
    drawing.setAttribute("aria-label", `By epoch: loss ${range("loss")}${Number.isFinite(last.ndcg) ? `, validation ndcg@10 ${range("ndcg")}` : ""}`);
    put(legend, h("span", { class: "key-loss" }, `training loss ${range("loss")}`),
      Number.isFinite(last.ndcg) ? h("span", { class: "key-ndcg" }, `validation ndcg@10 ${range("ndcg")}`) : null,
      h("span", { class: "quiet" }, `epoch ${last.epoch}, each curve on its own scale`));
  };

  return {
    figure,
    clear() { points = []; figure.hidden = true; },
    add(progress) {
      if (!Number.isFinite(progress.loss)) return;
      if (progress.stage !== stage) { stage = progress.stage; points = []; }
      points.push(progress);
      figure.hidden = false;
      draw();
    },
  };
}
