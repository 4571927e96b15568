/* The API key, if the service requires one. It is stored for this tab only and forgotten when the tab
   is closed. A key is checked before it is used, so that no request is sent that would be rejected. */

import { h, inline, put } from "./dom.js";
import { reach } from "./http.js";

const KEY = "twotower-key";
const WHY = {
  read: ["This service requires an API key", "The studio needs an API key with the scope `read`. Create one with `twotower keys create`."],
  write: ["This requires a key with the scope “write”", "A click is logged as an event, which needs an API key with the scope `write`. The current key does not have it."],
};
const UNKNOWN = "Invalid API key: it has been revoked or mistyped.";

/** What the key of this tab is allowed to do: a promise of {needed, scopes}. */
let held = null;
let asking = null;

export const isHeld = () => sessionStorage.getItem(KEY) !== null;

/** The authorization header of a request. */
export function headers(key = sessionStorage.getItem(KEY)) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export const forget = () => sessionStorage.removeItem(KEY);

/** Check the key again before it is used again. */
export function doubt() {
  held = null;
}

/** Whether the service requires a key. */
export const needed = async () => (await access()).needed;

/** Whether a request with a scope may be sent; prompts for a key if not. */
export async function permits(scope) {
  while (!(await access()).scopes.includes(scope)) {
    asking ??= ask(scope).finally(() => { asking = null; });
    if (!(await asking)) return false;
  }
  return true;
}

function access() {
  if (!held) {
    const looked = look(sessionStorage.getItem(KEY));
    looked.catch(() => { if (held === looked) held = null; });
    held = looked;
  }
  return held;
}

async function look(key) {
  return (await reach("/studio/api/access", { headers: headers(key), cache: "no-store" })).json();
}

/** Prompt for a key; resolves to whether a key with the scope was entered. */
function ask(scope) {
  return new Promise((resolve) => {
    const [title, why] = WHY[scope];
    const problem = h("p", { class: "note bad", id: "key-problem", role: "alert", hidden: true });
    const input = h("input", { class: "input", type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-problem" });
    const use = h("button", { class: "button strong" }, "Use key");
    const end = (given) => { dialog.close(); dialog.remove(); resolve(given); };
    const refuse = (reason) => {
      problem.hidden = false;
      put(problem, reason);
      input.setAttribute("aria-invalid", "true");
      input.focus();
      input.select();
    };
    const keep = (key) => {
      sessionStorage.setItem(KEY, key);
      doubt();
      end(true);
      dispatchEvent(new Event("keychange"));
    };
    const submit = async (event) => {
      event.preventDefault();
      const key = input.value.trim();
      use.disabled = true;
      try {
        const reason = await lacks(key, scope);
        if (reason) refuse(reason);
        else keep(key);
      } catch (error) {
        refuse(error.message);
      } finally { use.disabled = false; }
    };
    const dialog = h("dialog", { class: "card panel ask", "aria-labelledby": "key-title", "aria-describedby": "key-why" },
      h("h2", { id: "key-title" }, title), h("p", { class: "quiet", id: "key-why" }, inline(why)),
      h("form", { class: "side", onsubmit: submit },
        h("div", { class: "field" }, h("label", { for: "key" }, "API key"), input,
          h("span", { class: "hint" }, "Stored for this tab only, until it is closed.")),
        problem,
        h("div", { class: "between" }, h("button", { class: "button", type: "button", onclick: () => end(false) }, "Cancel"), use)));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); end(false); });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

/** Why a key is not sufficient, or null. Keys with characters not allowed in a header are invalid. */
async function lacks(key, scope) {
  if (!/^[\x21-\x7e]+$/.test(key)) return UNKNOWN;
  const { scopes } = await look(key);
  if (scopes.includes(scope)) return null;
  return scopes.length ? `This key only has the scope “${scopes.join("”, “")}”, not “${scope}”.` : UNKNOWN;
}
