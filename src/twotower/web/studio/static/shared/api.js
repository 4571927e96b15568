/* All requests of the page to the service. */

import * as key from "./key.js";
import { reach, ServiceError } from "./http.js";

export async function get(path) {
  return (await call(path, {})).json();
}

export async function post(path, body, scope = "read") {
  return (await call(path, json(body), scope)).json();
}

const json = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** The URL of an item's image; an object URL if an API key is needed to fetch it. */
export async function picture(itemId) {
  const path = `studio/api/picture?item_id=${encodeURIComponent(itemId)}`;
  if (!key.isHeld()) return path;
  return URL.createObjectURL(await (await call(path, {})).blob());
}

async function call(path, options, scope = "read", again = true) {
  if (!(await key.permits(scope))) {
    throw new ServiceError(401, "no_key", `This requires an API key with the scope “${scope}”.`, "enter one with the key button in the header");
  }
  try {
    return await reach(path, { ...options, headers: { ...options.headers, ...key.headers() } });
  } catch (error) {
    // The key has been revoked since it was checked, or the service's first key was just created.
    if (error.status !== 401 || !again) throw error;
    key.doubt();
    return call(path, options, scope, false);
  }
}

/* --- cached requests -------------------------------------------------------------------------- */

const cache = new Map();

function once(path) {
  if (!cache.has(path)) {
    const request = get(path);
    request.catch(() => cache.delete(path));
    cache.set(path, request);
  }
  return cache.get(path);
}

export const bundle = () => once("/studio/api/bundle");
/** The map by "components" (principal components) or by "neighbours" (t-SNE, which takes seconds). */
export const points = (layout) => once(`/studio/api/map?layout=${layout}`);
export const colours = (column, layout) => once(`/studio/api/map/colours?column=${encodeURIComponent(column)}&layout=${layout}`);
export const graph = () => once("/studio/api/graph");
export const quality = () => once("/studio/api/quality");
export const stages = () => once("/studio/api/stages");
export const course = () => once("/studio/api/course");
export const terms = () => once("/studio/api/terms");
export const example = (slug) => get(`/studio/api/terms/${encodeURIComponent(slug)}/example`);
export const lessons = () => once("/studio/api/lessons");
export const lesson = (slug) => once(`/studio/api/lessons/${encodeURIComponent(slug)}`);
export const lessonNotebook = async (slug) => (await call(`/studio/api/lessons/${encodeURIComponent(slug)}/notebook`, {})).blob();
export const shared = async (view, body) => (await call(`/studio/api/share/${view}`, body ? json(body) : {})).blob();
export const trace = () => post("/studio/api/trace", {});

/* --- the service ----------------------------------------------------------------------------- */

export const recommend = (request) => post("/v1/recommendations", request);
/** {vector, place on the map}; both null for a user of whom nothing is known. */
export const vector = (asker, layout) => post(`/studio/api/vector?layout=${layout}`, asker);
export const send = (event) => post("/v1/events", { events: [event] }, "write");
export const user = (id) => get(`/v1/users/${encodeURIComponent(id)}`);
export const users = (search) => get(`/v1/users?q=${encodeURIComponent(search)}&limit=20`);
export const items = (search) => get(`/v1/items?q=${encodeURIComponent(search)}&limit=20`);
export const similar = (id) => get(`/v1/items/${encodeURIComponent(id)}/similar?k=10`);
/** The Prometheus metrics, which require no key. */
export const metrics = async () => (await reach("/metrics")).text();

/* --- item cards ------------------------------------------------------------------------------- */

const cards = new Map();

/** item id -> {name, place, picture, interactions}; fetched in batches and cached. */
export async function itemCards(ids) {
  const missing = [...new Set(ids.filter((id) => !cards.has(id)))];
  for (let start = 0; start < missing.length; start += 500) {
    const part = missing.slice(start, start + 500);
    const found = await post("/studio/api/item-cards", { item_ids: part });
    for (const card of found) cards.set(card.item_id, card);
    // A typed "7" is the item 7 if the ids are integers.
    for (const id of part) {
      const same = found.find((card) => String(card.item_id) === String(id));
      if (same) cards.set(id, same);
    }
    for (const id of part) if (!cards.has(id)) cards.set(id, { item_id: id, name: String(id), place: null, picture: false, interactions: 0 });
  }
  return new Map(ids.map((id) => [id, cards.get(id)]));
}
