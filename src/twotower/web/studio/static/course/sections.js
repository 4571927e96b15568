/* The parts of the view Learn, and the links between them. */

import { h } from "../shared/dom.js";

const SECTIONS = [["learn", "Course"], ["lessons", "Lessons"], ["glossary", "Glossary"]];

export function sections(now) {
  return h("nav", { class: "parts", "aria-label": "Parts of Learn" }, SECTIONS.map(([key, name]) => h("a", {
    href: `#/${key}`, "aria-current": key === now ? "page" : undefined }, name)));
}
