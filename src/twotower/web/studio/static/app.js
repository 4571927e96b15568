/* The page frame: routing between views, the theme, the API key. A view is a module with
   `show(root, argument)`, which may return a function to call when the view is left. */

import * as api from "./shared/api.js";
import architecture from "./architecture/page.js";
import { h, icon, put } from "./shared/dom.js";
import { compact } from "./shared/format.js";
import * as key from "./shared/key.js";
import course from "./course/page.js";
import { record } from "./course/record.js";
import glossary from "./glossary/page.js";
import lessons from "./lessons/page.js";
import map from "./map/page.js";
import { trouble } from "./shared/components.js";
import quality from "./quality/page.js";
import { shareButtons } from "./share/page.js";
import tryIt, { request } from "./try/page.js";

const VIEWS = {
  try: { name: "Try it", show: tryIt },
  map: { name: "Map", show: map },
  architecture: { name: "Architecture", show: architecture },
  quality: { name: "Quality", show: quality },
  learn: { name: "Learn", show: course },
  glossary: { name: "Glossary", show: glossary, tab: "learn" },
  lessons: { name: "Lessons", show: lessons, tab: "learn" },
};

/** Views to share: the name of the files, the notebook, and what is saved as a page if it is more than
    what is shown. */
const SHARED = {
  try: ["recommendations", () => api.shared("answer", request())],
  map: ["map", () => api.shared("map")],
  architecture: ["architecture", () => api.shared("architecture")],
  quality: ["quality", () => api.shared("quality")],
  learn: ["course", () => api.shared(`course/${stepShown()}`), () => record(stepShown())],
};

/** The step of the course that is shown. */
const stepShown = () => document.querySelector(".course .contents a[aria-current]").hash.split("/").pop();

const root = document.getElementById("view");
let leave = null;
let turn = 0;

async function route(first) {
  const [, name, ...rest] = location.hash.split("/");
  // A link inside the page keeps the view; at the start there is none to keep.
  if (!first && location.hash && !location.hash.startsWith("#/")) return;
  const key = name in VIEWS ? name : "try";
  const mine = ++turn;
  if (leave) leave();
  leave = null;
  drawTabs(key);
  document.title = `${VIEWS[key].name} · twotower studio`;
  const stage = h("div");
  put(root, stage);
  try {
    const end = await VIEWS[key].show(stage, rest.map(decodeURIComponent).join("/"));
    if (mine === turn) leave = end ?? null;
    else if (end) end();
    if (mine === turn && SHARED[key]) stage.querySelector(".head")?.append(shareButtons(stage, document.title, ...SHARED[key]));
  } catch (error) {
    if (mine === turn) put(stage, trouble(error));
    if (!("status" in error)) throw error;
  }
  root.dataset.view = key;
  if (!first && mine === turn) {
    scrollTo(0, 0);
    stage.querySelector("h1")?.focus({ preventScroll: true });
  }
}

function drawTabs(now) {
  const tabs = Object.entries(VIEWS).filter(([, { tab }]) => !tab);
  put(document.getElementById("tabs"), tabs.map(([key, { name }]) => h("a", {
    href: `#/${key}`, "aria-current": key === (VIEWS[now].tab ?? now) ? "page" : undefined,
  }, icon(key), name)));
}

/* --- theme: the system's by default ----------------------------------------------------------- */

const THEME = "twotower-theme";
const themeButton = document.getElementById("theme");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function drawTheme() {
  const dark = isDark();
  put(themeButton, icon(dark ? "light" : "dark"));
  themeButton.setAttribute("aria-label", dark ? "Switch to light mode" : "Switch to dark mode");
  dispatchEvent(new Event("themechange"));
}

themeButton.addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem(THEME, next);
  drawTheme();
});
const stored = localStorage.getItem(THEME);
if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTheme);
drawTheme();

/* --- API key, if the service requires one ----------------------------------------------------- */

const keyButton = document.getElementById("key-button");

async function drawKey() {
  keyButton.hidden = !(await key.needed());
  put(keyButton, icon("key"));
  keyButton.setAttribute("aria-label", key.isHeld() ? "Forget the API key" : "Enter an API key");
}

keyButton.addEventListener("click", () => { key.forget(); location.reload(); });
addEventListener("keychange", drawKey);

document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); root.focus(); });
addEventListener("hashchange", () => route(false));
route(true);
drawKey().catch(() => {});
api.bundle().then((bundle) => {
  document.getElementById("version").textContent = `${compact(bundle.num_items)} items · ${compact(bundle.num_users)} users`;
}, () => {});
