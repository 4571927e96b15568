/* The key, where the service wants one. It lives in this tab alone: another tab asks again, and
   closing the tab forgets it. Whether a key does is asked for before it is used, so that no request
   is sent which would be refused. */

import { h, inline, put } from "./dom.js";
import { reach } from "./service.js";

const KEY = "twotower-key";
const WHY = {
  read: ["This service asks for a key", "What the studio shows needs a bearer key with the scope `read`, as `twotower keys create` makes them."],
  write: ["This needs a key that may write", "A click is an event, and events need a bearer key with the scope `write`. The key of this tab lacks it."],
};
const UNKNOWN = "The service does not know this key: it was revoked, or a character is missing or wrong.";

/** What the key of this tab may do: a promise of {needed, scopes}. */
let held = null;
let asking = null;

export const isHeld = () => sessionStorage.getItem(KEY) !== null;

/** The headers that a request is sent with. */
export function headers(key = sessionStorage.getItem(KEY)) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export const forget = () => sessionStorage.removeItem(KEY);

/** Look again at what the key may do before it is used again. */
export function doubt() {
  held = null;
}

/** Whether the service wants a key at all. */
export const needed = async () => (await access()).needed;

/** Whether a request of a scope may be sent; where it may not, a key is asked for. */
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

/** A promise of whether a key that has the scope was given; other keys are told what they lack. */
function ask(scope) {
  return new Promise((resolve) => {
    const [title, why] = WHY[scope];
    const problem = h("p", { class: "note bad", id: "key-problem", role: "alert", hidden: true });
    const input = h("input", { class: "input", type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-problem" });
    const use = h("button", { class: "button strong" }, "Use it in this tab");
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
        h("div", { class: "field" }, h("label", { for: "key" }, "Bearer key"), input,
          h("span", { class: "hint" }, "Kept until this tab is closed, and in no other tab.")),
        problem,
        h("div", { class: "between" }, h("button", { class: "button", type: "button", onclick: () => end(false) }, "Cancel"), use)));
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); end(false); });
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

/** Why a key will not do, or null. What no header can hold is no key. */
async function lacks(key, scope) {
  if (!/^[\x21-\x7e]+$/.test(key)) return UNKNOWN;
  const { scopes } = await look(key);
  if (scopes.includes(scope)) return null;
  return scopes.length ? `This key may ${scopes.join(" and ")}, and not ${scope}.` : UNKNOWN;
}
