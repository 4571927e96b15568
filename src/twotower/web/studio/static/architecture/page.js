/* The architecture: both towers, the index and the ranker; a traced batch highlights each step. */

import * as api from "../shared/api.js";
import { h, icon, put, svg } from "../shared/dom.js";
import { compact, count, milliseconds, plural, words } from "../shared/format.js";
import { facts, head, trouble } from "../shared/components.js";

const PACE = 260; // milliseconds per highlighted node

export default async function show(root) {
  const graph = await api.graph();
  const view = { graph, byId: new Map(graph.nodes.map((node) => [node.id, node])), elements: new Map(), anchors: new Map(), steps: null, playing: 0, shown: null };
  view.side = h("aside", { class: "card panel", "aria-label": "Selected component", "aria-live": "polite" });
  view.paths = svg("svg", { "aria-hidden": "true" });
  view.drawing = h("div", { class: "card drawing" }, view.paths, towers(view), serving(view));
  view.status = h("span", { class: "quiet small number", role: "status" });
  const send = h("button", { class: "button strong", type: "button" }, icon("play"), "Trace a batch");
  send.addEventListener("click", () => play(view, send));
  const { towers: inTowers, ranker } = graph.params;
  put(root,
    head("Architecture", `${count(inTowers + ranker)} parameters. The two towers are independent: their vectors only meet in the dot product. Dashed boxes are parts that this bundle does not use. In the shapes, B is the size of a batch, N the number of items, and k the length of the answer.`,
      h("div", { class: "play" }, view.status, send)),
    h("div", { class: "arch" }, view.drawing, h("div", { class: "side sticky" }, view.side, sizes(graph.params))));
  choose(view, "query.vector");
  const redraw = () => drawEdges(view);
  const observer = new ResizeObserver(redraw);
  observer.observe(view.drawing);
  redraw();
  return () => { observer.disconnect(); view.playing += 1; };
}

function towers(view) {
  const column = (part, title) => {
    const nodes = view.graph.nodes.filter((node) => node.part === part);
    const could = nodes.filter(({ present }) => !present);
    return h("section", { class: "tower", "aria-label": title },
      h("h2", {}, h("span", { class: `badge ${part}` }, title)),
      could.length ? h("div", { class: "features could", role: "group", "aria-label": "Available features" }, could.map((node) => box(view, node))) : null,
      features(view, nodes.filter(({ row, present }) => row === 0 && present)),
      nodes.filter(({ row, kind }) => row > 0 && kind !== "vector" && kind !== "cold").map((node) => box(view, node)),
      h("div", { class: "features ends" }, nodes.filter(({ row, kind }) => row > 0 && (kind === "vector" || kind === "cold")).map((node) => box(view, node))));
  };
  return h("div", { class: "towers" }, column("query", "Query tower"), column("item", "Item tower"));
}

/** The id at the left and the history at the right, with lines of their own; the others as a group
    with one line, since it may take several rows. */
function features(view, nodes) {
  const apart = ({ kind }) => kind === "id" || kind === "history";
  const others = nodes.filter((node) => !apart(node));
  const group = others.length ? h("div", { class: "group" }, others.map((node) => box(view, node))) : null;
  for (const node of others) view.anchors.set(node.id, group);
  return h("div", { class: "features" }, nodes.filter(({ kind }) => kind === "id").map((node) => box(view, node)), group,
    nodes.filter(({ kind }) => kind === "history").map((node) => box(view, node)));
}

function serving(view) {
  const nodes = view.graph.nodes.filter(({ part }) => part === "serve");
  const row = (chosen) => h("div", {}, chosen.map((node) => box(view, node)));
  // Stages that the bundle lacks come last, so that no line runs behind them.
  return h("section", { class: "serve", "aria-label": "Serving" }, row(nodes.filter((node) => node.row === 0)),
    row(nodes.filter((node) => node.row > 0 && node.present)), row(nodes.filter((node) => !node.present)));
}

function box(view, node) {
  const classes = ["node", node.part === "serve" ? "serve-node" : node.part, (node.kind === "vector" || node.kind === "cold") && node.row > 0 ? "vector" : "", node.row === 0 && node.part !== "serve" ? "narrow" : "", node.present ? "" : "lacking"];
  const element = h("button", { class: classes.filter(Boolean).join(" "), type: "button", "aria-pressed": "false", onclick: () => choose(view, node.id) },
    h("span", { class: "title" }, node.present ? node.title : `+ ${node.title}`), node.present ? h("span", { class: "shape" }, node.shape) : null);
  view.elements.set(node.id, element);
  return element;
}

function sizes({ query, item, new_items: cold, ranker }) {
  const total = query + item + cold + ranker || 1;
  const parts = [["query tower", query, ""], ["item tower", item, "item"], ["cold items", cold, "cold"], ["ranker", ranker, "rank"]].filter(([, size]) => size);
  return h("section", { class: "card panel" }, h("h2", {}, "Parameters"),
    h("div", { class: "ratio", "aria-hidden": "true" }, parts.map(([, size, tone]) => h("span", { class: tone, style: { width: `${(100 * size) / total}%` } }))),
    h("div", { class: "between small" }, parts.map(([name, size]) => h("span", {}, `${name} ${compact(size)}`))));
}

/* --- the details of a node ------------------------------------------------------------------- */

function choose(view, id) {
  const node = view.byId.get(id);
  view.shown = id;
  for (const [other, element] of view.elements) element.setAttribute("aria-pressed", String(other === id));
  const entries = [];
  if (node.params) entries.push(["parameters", count(node.params)]);
  if (node.shape) entries.push(["output shape", node.shape]);
  for (const [name, value] of Object.entries(node.facts)) entries.push([name, typeof value === "number" && value >= 1000 ? count(value) : value]);
  const steps = view.steps ? view.steps.filter((step) => belongs(node, step.module)) : [];
  put(view.side, h("div", {}, h("h2", {}, node.title), h("p", { class: "quiet", style: { "margin-top": "0.35rem" } }, node.text)),
    entries.length ? facts(entries) : null,
    node.present ? null : [h("h3", {}, "To add it to twotower.toml"), h("pre", { tabindex: "0" }, h("code", {}, node.toml))],
    steps.length ? [h("h3", {}, "In this batch"), h("div", { class: "scroll steps", tabindex: "0", role: "group", "aria-label": "Traced shapes" }, ranIn(steps))] : null);
}

function ranIn(steps) {
  return h("ol", {}, steps.map((step) => h("li", { title: step.module },
    h("span", {}, step.kind === "step" ? words(step.module) : step.kind), h("span", { class: "number quiet" }, step.milliseconds ? milliseconds(step.milliseconds) : ""),
    h("span", { class: "shapes" }, step.inputs.length ? `${step.inputs.slice(0, 2).map(shape).join(" ")} → ${shape(step.output)}` : shape(step.output)))));
}

const shape = (sizes) => `(${sizes.join(", ")})`;

/** Whether a step belongs to a node's module or to a submodule. */
function belongs(node, module) {
  return node.modules.some((path) => module === path || ((node.row === 0 || node.kind === "ranker") && module.startsWith(`${path}.`)));
}

/* --- a batch ---------------------------------------------------------------------------------- */

async function play(view, button) {
  const mine = ++view.playing;
  button.disabled = true;
  view.status.textContent = "running …";
  try {
    const trace = await api.trace();
    if (mine !== view.playing) return;
    view.steps = trace.steps;
    for (const element of view.elements.values()) element.classList.remove("lit", "now");
    drawEdges(view);
    await light(view, trace, mine);
    if (mine !== view.playing) return;
    view.status.textContent = `${plural(trace.batch, "user")} and ${plural(trace.batch, "item")} in ${milliseconds(trace.milliseconds)}, ${plural(trace.steps.length, "step")}`;
    choose(view, view.shown);
  } catch (error) {
    put(view.side, trouble(error));
  } finally {
    button.disabled = false;
  }
}

/** Highlight the nodes one by one, in the order in which their modules finished. */
async function light(view, trace, mine) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  for (const step of trace.steps) {
    const node = view.graph.nodes.find((candidate) => candidate.present && candidate.modules.includes(step.module) && (candidate.kind !== "vector" || candidate.row === 0))
      ?? view.graph.nodes.find((candidate) => candidate.present && candidate.modules.includes(step.module));
    if (!node) continue;
    const element = view.elements.get(node.id);
    element.classList.add("lit", "now");
    element.querySelector(".shape").textContent = shape(step.output);
    lightEdges(view, node.id);
    view.status.textContent = `${node.title} ${shape(step.output)}`;
    if (!still) await new Promise((done) => setTimeout(done, PACE));
    element.classList.remove("now");
    if (mine !== view.playing) return;
  }
}

/* --- edges ------------------------------------------------------------------------------------ */

function drawEdges(view) {
  const frame = view.drawing.getBoundingClientRect();
  view.paths.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const drawn = new Set();
  put(view.paths, view.graph.edges.map(([from, to]) => {
    const start = view.anchors.get(from) ?? view.elements.get(from), end = view.elements.get(to);
    const d = route(view, from, to)(start.getBoundingClientRect(), end.getBoundingClientRect(), frame);
    if (drawn.has(d)) return null;
    drawn.add(d);
    return svg("path", { d, "data-from": from, "data-to": to });
  }));
  for (const [id, element] of view.elements) if (element.classList.contains("lit")) lightEdges(view, id);
}

function route(view, from, to) {
  const [a, b] = [view.byId.get(from), view.byId.get(to)];
  // The id is the first feature, the history the last one.
  if (a.part !== "serve" && a.row === 0 && (b.kind === "sum" || b.kind === "cold")) return (...boxes) => around(...boxes, a.kind === "id");
  const apart = view.elements.get(to).getBoundingClientRect().top - view.elements.get(from).getBoundingClientRect().bottom;
  // On a phone, the sources of candidates stand in two columns.
  if (a.part === "serve" && apart > 60) return between;
  return apart > 260 ? aside : line;
}

function lightEdges(view, id) {
  for (const path of view.paths.querySelectorAll(`[data-to="${CSS.escape(id)}"]`)) path.classList.add("lit");
}

function line(a, b, frame) {
  const sideways = Math.abs(a.top - b.top) < 20;
  if (sideways) return `M${a.right - frame.left} ${a.top + a.height / 2 - frame.top}L${b.left - frame.left} ${b.top + b.height / 2 - frame.top}`;
  const x = a.left + a.width / 2 - frame.left, y = a.bottom - frame.top, toX = b.left + b.width / 2 - frame.left, toY = b.top - frame.top;
  const bend = (toY - y) / 2;
  return `M${x} ${y}C${x} ${y + bend} ${toX} ${toY - bend} ${toX} ${toY}`;
}

/** Between two columns of boxes, past those below. */
function between(a, b, frame) {
  const middle = frame.width / 2, y = a.top + a.height / 2 - frame.top;
  const x = (a.left + a.width / 2 - frame.left < middle ? a.right : a.left) - frame.left;
  const toX = b.left + b.width / 2 - frame.left, toY = b.top - frame.top;
  return `M${x} ${y}Q${middle} ${y} ${middle} ${y + 14}L${middle} ${toY - 24}C${middle} ${toY - 8} ${toX} ${toY - 20} ${toX} ${toY}`;
}

/** Along the right edge, around the nodes in between. */
function aside(a, b, frame) {
  const x = a.right - frame.left, y = a.top + a.height / 2 - frame.top, edge = frame.width - 10;
  const toX = b.left + b.width / 2 - frame.left, toY = b.top - frame.top;
  return `M${x} ${y}L${edge - 14} ${y}Q${edge} ${y} ${edge} ${y + 14}L${edge} ${toY - 34}Q${edge} ${toY - 20} ${edge - 14} ${toY - 20}L${toX + 14} ${toY - 20}Q${toX} ${toY - 20} ${toX} ${toY}`;
}

/** Around the layers, on the left or on the right. */
function around(a, b, frame, left) {
  const x = (left ? a.left + 14 : a.right - 14) - frame.left;
  const y = a.bottom - frame.top, toX = (left ? b.left : b.right) - frame.left, toY = b.top + b.height / 2 - frame.top;
  const far = left ? Math.min(x, toX - 46) : Math.min(Math.max(x, toX + 46), frame.width - 20);
  return `M${x} ${y}C${far} ${y + 60} ${far} ${toY - 40} ${far} ${toY - 18}Q${far} ${toY} ${left ? Math.min(far + 18, toX) : Math.max(far - 18, toX)} ${toY}L${toX} ${toY}`;
}
