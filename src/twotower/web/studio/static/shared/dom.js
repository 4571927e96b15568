/* Build elements without HTML strings: data always becomes text, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/** Create an element with properties and children: elements, text, or nested lists of them. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, to);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace the children of an element. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Paragraphs of text with `code`, *emphasis* and [links](slug) to terms of the glossary. */
export function prose(text) {
  return text.split("\n\n").map((paragraph) => h("p", {}, inline(paragraph)));
}

export function inline(text) {
  return text.split(/(`[^`]+`|\*[^*\s][^*]*\*|\[[^\]]+\]\([a-z-]+\))/).map((part) => {
    const link = /^\[([^\]]+)\]\(([a-z-]+)\)$/.exec(part);
    if (link) return h("a", { href: `#/glossary/${link[2]}` }, link[1]);
    if (part.startsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("*") && part.length > 2 && part.endsWith("*")) return h("em", {}, part.slice(1, -1));
    return part;
  });
}

let counter = 0;
/** A unique element id. */
export function fresh(prefix) {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** Debounce: calls `run` once it has not been called again for `wait` milliseconds. */
export function later(run, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), wait);
  };
}

const ICONS = {
  try: "M4 7h16M4 12h10M4 17h7M17 13l4 4-4 4",
  map: "M5 8h.01M9 16h.01M13 7h.01M18 11h.01M15 17h.01M8 12h.01M19 5h.01M4 19h.01",
  architecture: "M4 20V9l3-4 3 4v11zM14 20V6l3-3 3 3v14zM10 14h4",
  quality: "M5 20v-7M10 20V5M15 20v-9M20 20V9",
  learn: "M4 5h6a2 2 0 0 1 2 2v13a2 2 0 0 0-2-2H4zM20 5h-6a2 2 0 0 0-2 2v13a2 2 0 0 1 2-2h6z",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  play: "M7 4.5v15l12-7.5z",
  key: "M14.5 9.5a4 4 0 1 1-4-4 4 4 0 0 1 4 4zM13.4 12.4 20 19M17 16l-2 2",
  close: "M6 6l12 12M18 6 6 18",
};

export function icon(name) {
  const dots = name === "map";
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", fill: "none", stroke: "currentColor",
    "stroke-width": dots ? 3.4 : 1.9, "stroke-linecap": "round", "stroke-linejoin": "round" }, svg("path", { d: ICONS[name] }));
}
