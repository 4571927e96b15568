/* Elements from the trees that the service sends: [name, attributes, ...children]. */

import { h } from "./dom.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const HTML = new Set(["a", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "h4", "hr", "img", "li", "ol", "p", "pre", "section", "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"]);

export function build([name, attributes, ...children]) {
  if (name === "math") return mathml([name, attributes, ...children]);
  if (!HTML.has(name)) throw new Error(`unexpected element ${name}`);
  return h(name, attributes, children.map((child) => (typeof child === "string" ? child : build(child))));
}

function mathml([name, attributes, ...children]) {
  const element = document.createElementNS(MATHML, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (typeof child === "string" ? child : mathml(child))));
  return element;
}
