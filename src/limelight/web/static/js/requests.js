/** Asks about the photo that is shown: what the network answers, the map, the map beside it. */

import * as api from "./api.js";
import { decodeMap } from "./heat.js";
import { sentence, tellError } from "./notices.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";

/** The longer side of the large map, and of those in strips, in pixels. */
const LARGE = 448;
const SMALL = 112;

/** How many photos are kept as bitmaps. */
const MOST_PICTURES = 8;

const pictures = new Map();
const sentAgain = new WeakMap(); // photos on their way to the server once more
const otherFacts = new Map(); // facts of networks that were compared with, by name
let mainAbort = null;
let compareAbort = null;
let layersOf = null;
let looking = Promise.resolve(null);
let choices = 0; // how many times a network was chosen

/** Return the request for a map, as the page's state says it. */
export function mapRequest(overrides = {}) {
  const { network, target, method, layer, texts } = get();
  const asked = { network: network?.name ?? null, target, method, layer };
  return { ...asked, ...(texts?.length ? { texts } : {}), ...overrides };
}

/** Return the place that a target is explained at: its box or its pixel, if it has one. */
export function placeOf({ box, pixel }) {
  return { ...(box ? { box } : {}), ...(pixel ? { pixel } : {}) };
}

/** Whether the network answers in words, and has no score of a class. */
export function answersInWords() {
  return get().network?.kind === "vision-language";
}

/** Ask about the photo: `ask("probe", body)`. A photo that is not held any more is sent again. */
export async function ask(what, body = {}, options = {}) {
  refuseForWords(what);
  return whileHeld((id) => api.post(`api/photos/${id}/${what}`, body, options));
}

/** Ask about the photo, and hand on the lines of the answer. */
export async function askLines(what, body, onLine, options = {}) {
  refuseForWords(what);
  return whileHeld((id) => api.lines(`api/photos/${id}/${what}`, body, onLine, options));
}

/** Ask for a file about the photo, as `{blob, name}`. */
export async function askFile(what, body = {}, options = {}) {
  refuseForWords(what);
  return whileHeld((id) => api.blob(`api/photos/${id}/${what}`, body, options));
}

/** A model that answers in words is asked nothing else: as if nobody waited for the answer. */
function refuseForWords(what) {
  if (answersInWords() && !["ask", "look"].includes(what)) {
    throw new api.ApiError("stopped", "");
  }
}

/** Send a file or take a sample, and return what the server says of the photo: its id, its size. */
export async function hold({ file, sample }) {
  if (sample) return api.post(`api/photos/sample/${sample}`);
  const form = new FormData();
  form.append("photo", file, file.name || "photo");
  return api.send("api/photos", form);
}

/** Return a photo as a bitmap of at most 1024 pixels; those not asked for longest are forgotten. */
export function pictureOf(photo) {
  const known = pictures.get(photo) ?? loadPicture(photo);
  known.catch(() => pictures.get(photo) === known && pictures.delete(photo)); // to be tried again
  pictures.delete(photo);
  pictures.set(photo, known);
  if (pictures.size > MOST_PICTURES) pictures.delete(pictures.keys().next().value);
  return known;
}

/**
 * Make maps of the photo one by one.
 *
 * @param {object[]} requests the maps
 * @param {object} options `name`: what a later call of the same name replaces; `first`: whether they
 *   go before what else waits; `signal`; `onMap(n, map)`, `onError(n, sentence)` and
 *   `onProgress({task, done, total})`
 */
export async function makeMaps(requests, { name, signal, onMap, onError, onProgress, longest = SMALL, first = false }) {
  if (!requests.length) return;
  const found = (await looking) ?? get().look;
  const body = { maps: requests, longest, replaces: name, first };
  const onLine = (line) => {
    if (signal?.aborted) return;
    if (line.map) onMap(line.number, decodeMap(line.map, found.box, requests[line.number]));
    else if (line.error) onError(line.number, line.error.message, line.error.code);
    else if (line.progress) onProgress?.(line.progress);
  };
  await askLines("maps", body, onLine, { signal });
}

/** Ask for the map that the state describes, and show it; what was asked before is dropped. */
export async function showMain() {
  const { photo, network } = get();
  mainAbort?.abort();
  if (!photo || !network || answersInWords()) return;
  const abort = (mainAbort = new AbortController());
  const request = mapRequest();
  set({ busy: get().busy + 1, progress: null });
  try {
    await makeMaps([request], {
      name: "main",
      first: true,
      longest: LARGE,
      signal: abort.signal,
      onMap: (_, map) => set({ main: map, mainError: null }),
      onError: (_, text, code) => set({ main: null, mainError: { text, code } }),
      onProgress: (progress) => set({ progress }),
    });
  } catch (error) {
    if (!api.isStopped(error)) set({ main: null, mainError: { text: sentence(error), code: error.code } });
  } finally {
    set({ busy: get().busy - 1, ...(mainAbort === abort ? { progress: null } : {}) });
  }
}

/** Stop the maps of the stage that are being made. */
export function stopMain() {
  mainAbort?.abort();
  compareAbort?.abort();
}

/** Show a photo: nothing of the one before stays. */
export function showPhoto(photo) {
  const nothing = { look: null, main: null, mainError: null, region: null, others: {}, target: {} };
  set({ ...nothing, photo, second: null });
}

/**
 * Load a network and explain by it; a class stays if it is known there by the same name.
 *
 * @returns whether it could be loaded, or another was chosen meanwhile
 */
export async function useNetwork(name) {
  const mine = ++choices;
  try {
    const network = await api.get(`${networkPath(name)}?layers=false`);
    if (mine !== choices) return true;
    const before = get();
    const kept = className(before.network, before.target.class);
    const index = kept === null ? -1 : network.classes.indexOf(kept);
    const target = index < 0 ? {} : { class: index };
    set({ network, layers: network.layers, layer: null, target, second: null, region: null, look: null, others: {}, main: null, texts: [] });
    return true;
  } catch (error) {
    if (mine !== choices) return true;
    tellError(error);
    return false;
  }
}

/** Find all layers of the network that is shown, which takes a while: the first map goes first. */
async function findLayers() {
  const { network, main } = get();
  if (!main || main.request.network !== network.name || layersOf === network) return;
  layersOf = network;
  try {
    network.layers = (await api.get(networkPath(network.name))).layers;
    if (get().network === network) set({ layers: network.layers });
  } catch (error) {
    tellError(error);
  }
}

function networkPath(name) {
  return `api/networks/${encodeURIComponent(name)}`;
}

/** Return the name of a class of a network, or of its answer; null if it has none. */
export function className(network, index) {
  if (index === undefined || index === null) return null;
  const answered = get().look?.answers.find((answer) => answer.index === index);
  return network?.classes[index] ?? (network === get().network ? answered?.name : null) ?? null;
}

/** Ask whenever what is shown no longer is what the state says. */
export function follow() {
  on(["photo", "network", "texts", "language"], () => {
    looking = lookAgain();
    looking.catch(() => {}); // whoever waits for it is told
  });
  on(["photo", "network", "texts", "target", "method", "layer", "language"], showMain);
  const compared = ["main", "second", "view.compare", "view.otherMethod", "view.otherNetwork"];
  on(compared, showCompared);
  on(["main"], findLayers);
}

/** Return the request for the map beside the main one; null if none is to be compared. */
function comparedRequest({ view, second, target }) {
  if (view.compare === "class") {
    return second && mapRequest({ target: { ...placeOf(target), class: second.class } });
  }
  if (view.compare === "method") return view.otherMethod && mapRequest({ method: view.otherMethod });
  if (view.compare !== "network" || !view.otherNetwork) return null;
  return mapRequest({ network: view.otherNetwork, layer: null, texts: undefined });
}

async function showCompared() {
  compareAbort?.abort();
  const { main } = get();
  const request = main && comparedRequest(get());
  if (!request) return keepOthers({ compare: undefined });
  const abort = (compareAbort = new AbortController());
  const { signal } = abort;
  set({ busy: get().busy + 1 });
  try {
    const other = request.network !== main.request.network;
    if (other) request.target = await targetOfOther(request.network, main);
    const { box } = other ? await ask("look", { network: request.network }, { signal }) : get().look;
    await makeMaps([request], {
      name: "compare",
      longest: LARGE,
      signal,
      onMap: (_, map) => keepOthers({ compare: { ...map, box } }),
      onError: (_, text) => keepOthers({ compare: { error: text } }),
      onProgress: (progress) => set({ progress }),
    });
  } catch (error) {
    if (!api.isStopped(error)) keepOthers({ compare: { error: sentence(error) } });
  } finally {
    set({ busy: get().busy - 1, ...(compareAbort === abort ? { progress: null } : {}) });
  }
}

/** Return what a map explains as another network numbers it: the class of the same name. */
async function targetOfOther(name, { request: { target }, index }) {
  if (!otherFacts.has(name)) {
    const facts = api.get(`${networkPath(name)}?layers=false`);
    facts.catch(() => otherFacts.delete(name));
    otherFacts.set(name, facts);
  }
  const { classes } = await otherFacts.get(name);
  const own = get().network.classes;
  const there = (number) => {
    if (!own.length || !classes.length || classes[number] === own[number]) return number;
    const found = classes.indexOf(own[number]);
    if (found >= 0) return found;
    throw new api.ApiError("no-such-class", t("view.no-such-class", { name: own[number], network: name }));
  };
  const explained = target.class ?? index;
  return {
    ...target,
    ...(explained === null ? {} : { class: there(explained) }),
    ...(target.against === undefined ? {} : { against: there(target.against) }),
  };
}

function keepOthers(changes) {
  set({ others: { ...get().others, ...changes } });
}

async function lookAgain() {
  const { photo, network, texts, language } = get();
  if (!photo || !network) return null;
  try {
    const body = { network: network.name, ...(texts?.length ? { texts } : {}) };
    const look = await ask("look", body);
    const now = get();
    if (now.photo === photo && now.network === network && now.language === language) set({ look });
    return look;
  } catch (error) {
    if (network.kind === "vision-language") tellError(error); // else the missing map tells
    throw error;
  }
}

async function loadPicture(photo) {
  const load = (id) => api.file(`api/photos/${id}/picture?longest=1024`);
  return createImageBitmap(await whileHeld(load, photo));
}

async function whileHeld(call, photo = get().photo) {
  const { id } = photo;
  try {
    return await call(id);
  } catch (error) {
    if (error.code !== "no-such-photo" || !(photo.file || photo.sample)) throw error;
    if (photo.id === id) await sendAgain(photo);
    return call(photo.id);
  }
}

/** Send a photo once more that is not held any more: once, however many ask about it. */
export async function sendAgain(photo) {
  if (!sentAgain.has(photo)) {
    sentAgain.set(photo, hold(photo).finally(() => sentAgain.delete(photo)));
  }
  photo.id = (await sentAgain.get(photo)).id; // the same photo, so that nobody draws it anew
}
