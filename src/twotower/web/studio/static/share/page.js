/* A view as one HTML file that needs nothing else: its elements as they are now, without controls,
   with the style sheet and all images inside. */

import { h, put } from "../shared/dom.js";
import { save } from "./save.js";

const CONTROLS = ".unsaved, button.chip, .panel > header a, .button, .link, .segments, .combo, .field, .zoom, .tune, .map-tools, .play, .remove, .share, .parts, .learn:not(.course) > .contents, .turn, select, input, textarea, [role=status], [hidden], .visually-hidden";
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** Save the view below `root` as a file. */
export async function savePage(root, title, name) {
  const copy = root.cloneNode(true);
  drawn(root, copy);
  fixWidth(root, copy);
  for (const control of copy.querySelectorAll(CONTROLS)) control.remove();
  for (const element of [...copy.querySelectorAll("aside, div, form, p, pre, fieldset, ul")].reverse()) if (isEmpty(element)) element.remove();
  for (const element of copy.querySelectorAll("button")) become(element, "div");
  for (const link of copy.querySelectorAll("a:not([href^='http'])")) become(link, "span");
  for (const element of copy.querySelectorAll("*")) bare(element);
  await Promise.all([...copy.querySelectorAll("img")].map(embed));
  const sheets = [...document.querySelectorAll("link[rel=stylesheet]")];
  const styles = await Promise.all(sheets.map(async ({ href }) => (await fetch(href)).text()));
  // Not as an element: the page's policy allows no style that is written into a document.
  const text = new XMLSerializer().serializeToString(page(copy, title)).replace("</head>", () => `<style>\n${styles.join("\n")}\n</style></head>`);
  save(new Blob([`<!doctype html>\n${text}\n`], { type: "text/html" }), name);
}

function page(copy, title) {
  const file = document.implementation.createHTMLDocument(title);
  file.documentElement.lang = "en";
  const { theme } = document.documentElement.dataset;
  if (theme) file.documentElement.dataset.theme = theme;
  file.head.prepend(h("meta", { charset: "utf-8" }), h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }), h("meta", { "http-equiv": "Content-Security-Policy", content: POLICY }));
  file.body.append(h("main", {}, copy.childNodes.length ? [...copy.childNodes] : null,
    h("footer", { class: "quiet small", style: { "margin-top": "2rem" } }, `Saved from the twotower studio on ${new Date().toISOString().slice(0, 10)} (${document.getElementById("version").textContent}).`)));
  return file.documentElement;
}

/* A canvas has no content of its own in a copy: an image takes its place. */
function drawn(root, copy) {
  const copies = copy.querySelectorAll("canvas");
  root.querySelectorAll("canvas").forEach((canvas, n) => {
    const image = h("img", { src: canvas.toDataURL(), alt: canvas.getAttribute("aria-label")?.split(". ")[0] ?? "", style: { width: "100%", height: "100%" } });
    copies[n].replaceWith(image);
  });
}

/* The lines of a drawing were computed for its present width. */
function fixWidth(root, copy) {
  const copies = copy.querySelectorAll(".drawing");
  root.querySelectorAll(".drawing").forEach((drawing, n) => {
    copies[n].style.width = `${drawing.offsetWidth}px`;
    copies[n].parentElement.style.overflowX = "auto"; // on a narrower screen
  });
}

const isEmpty = (element) => !element.textContent.trim() && !element.querySelector("img, svg, span");

function become(element, name) {
  const other = h(name, {}, [...element.childNodes]);
  for (const { name: key, value } of element.attributes) if (!["href", "type", "style"].includes(key)) other.setAttribute(key, value);
  other.style.cssText = element.style.cssText;
  element.replaceWith(other);
}

const KEPT = ["class", "style", "alt", "src", "href", "rel", "scope", "colspan", "open", "lang", "title"];

/* Attributes that only make sense with the program of the page. */
function bare(element) {
  if (!(element instanceof HTMLElement)) return;
  for (const { name } of [...element.attributes]) if (!KEPT.includes(name)) element.removeAttribute(name);
}

async function embed(image) {
  if (image.src.startsWith("data:")) return;
  const content = await (await fetch(image.src)).blob();
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(content);
  });
  image.src = url;
}

/** The buttons of a view: `notebook()` resolves to a Blob; `whole()` to the element to save, by default
    that of the view. */
export function shareButtons(root, title, name, notebook, whole = () => root) {
  const said = h("span", { class: "quiet small", role: "status" });
  const button = (label, run) => h("button", { class: "button", type: "button", onclick: async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await run();
      said.textContent = "Saved.";
    } catch (error) {
      put(said, error.message);
    } finally {
      pressed.disabled = false;
    }
  } }, label);
  return h("div", { class: "share", role: "group", "aria-label": "Share" },
    button("Save as page", async () => savePage(await whole(), title, `${name}.html`)),
    button("Open as notebook", async () => save(await notebook(), `${name}.ipynb`)), said);
}
