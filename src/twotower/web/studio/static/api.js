/* Everything that the page asks the service for. */

import * as key from "./key.js";
import { reach, ServiceError } from "./service.js";

export async function get(path) {
  return (await call(path, {})).json();
}

export async function post(path, body, scope = "read") {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await call(path, options, scope)).json();
}

/** An address that an image can show: the picture itself where a key is needed to get it. */
export async function picture(itemId) {
  const path = `/studio/api/picture?item_id=${encodeURIComponent(itemId)}`;
  if (!key.isHeld()) return path;
  return URL.createObjectURL(await (await call(path, {})).blob());
}

async function call(path, options, scope = "read", again = true) {
  if (!(await key.permits(scope))) {
    throw new ServiceError(401, "no_key", `A key that may ${scope} is needed for this.`, "give one by the button with the key, above");
  }
  try {
    return await reach(path, { ...options, headers: { ...options.headers, ...key.headers() } });
  } catch (error) {
    // Revoked since it was looked at, or the service's first key was just made.
    if (error.status !== 401 || !again) throw error;
    key.doubt();
    return call(path, options, scope, false);
  }
}

/* --- what is asked for once ------------------------------------------------------------------ */

const kept = new Map();

function once(path) {
  if (!kept.has(path)) {
    const asked = get(path);
    asked.catch(() => kept.delete(path));
    kept.set(path, asked);
  }
  return kept.get(path);
}

export const bundle = () => once("/studio/api/bundle");
export const points = () => once("/studio/api/map");
export const colours = (column) => once(`/studio/api/map/colours?column=${encodeURIComponent(column)}`);
export const graph = () => once("/studio/api/graph");
export const quality = () => once("/studio/api/quality");
export const stages = () => once("/studio/api/stages");
export const terms = () => once("/studio/api/terms");
export const example = (slug) => get(`/studio/api/terms/${encodeURIComponent(slug)}/example`);
export const trace = () => post("/studio/api/trace", {});

/* --- the service ----------------------------------------------------------------------------- */

export const recommend = (request) => post("/v1/recommendations", request);
export const vector = async (asker) => (await post("/studio/api/vector", asker)).vector;
export const send = (event) => post("/v1/events", { events: [event] }, "write");
export const user = (id) => get(`/v1/users/${encodeURIComponent(id)}`);
export const users = (search) => get(`/v1/users?q=${encodeURIComponent(search)}&limit=20`);
export const items = (search) => get(`/v1/items?q=${encodeURIComponent(search)}&limit=20`);
export const similar = (id) => get(`/v1/items/${encodeURIComponent(id)}/similar?k=10`);
/** The metrics, which need no key. */
export const metrics = async () => (await reach("/metrics")).text();

/* --- what items look like -------------------------------------------------------------------- */

const faces = new Map();

/** item id -> {name, place, picture, taken}; asked for in one request, and kept. */
export async function looks(ids) {
  const missing = [...new Set(ids.filter((id) => !faces.has(id)))];
  for (let start = 0; start < missing.length; start += 500) {
    const part = missing.slice(start, start + 500);
    const found = await post("/studio/api/looks", { item_ids: part });
    for (const face of found) faces.set(face.item_id, face);
    // A typed "7" is the item 7 where the tables have integers.
    for (const id of part) {
      const same = found.find((face) => String(face.item_id) === String(id));
      if (same) faces.set(id, same);
    }
    for (const id of part) if (!faces.has(id)) faces.set(id, { item_id: id, name: String(id), place: null, picture: false, taken: 0 });
  }
  return new Map(ids.map((id) => [id, faces.get(id)]));
}
