/** Small maps side by side: one for each method, one for each layer from early to late. */

import { isStopped } from "./api.js";
import { el, isMoved } from "./dom.js";
import { valueAt } from "./heat.js";
import { tellError } from "./notices.js";
import { makeMaps, mapRequest, pictureOf } from "./requests.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";
import { drawTile, pointOfTile } from "./tiles.js";
import { hoverAt } from "./tools.js";

/** How long nothing has to change before the strips are made, in milliseconds: the map goes first. */
const PAUSE = 150;

/** How close to the screen the strips have to be to be made. */
const NEAR = "200px";

const tiles = new Map(); // by key: "method:NAME", "layer:PATH"
const running = new Map(); // what stops the slow map of a tile
const impossible = new Map(); // why a method never works on a network, by tile and network
let quickList, slowList, layerList, cannot, layerNote;
let quick = null;
let timer = 0;
let near = false;

/** Draw the strips in a root. */
export function mount(root) {
  quickList = el("ul", { class: "strip rows", id: "methods", tLabel: "strips.methods" });
  slowList = el("ul", { class: "strip", id: "slow-methods", tLabel: "strips.slow" });
  layerList = el("ul", { class: "strip", id: "layers", tLabel: "strips.layers" });
  cannot = el("details", { class: "cannot", hidden: true }, el("summary", {}), el("dl", {}));
  layerNote = el("p", { class: "note" });
  root.append(
    el("div", { class: "card" }, heading("h2", "layers"), layerNote, layerList),
    el("div", { class: "card" }, heading("h2", "methods"), quickList, heading("h3", "slow"), slowList, cannot)
  );
  new IntersectionObserver(
    ([seen]) => {
      near = seen.isIntersecting;
      if (near) later();
    },
    { rootMargin: NEAR }
  ).observe(root);
  on(["language"], () => impossible.clear());
  on(["network", "layers", "language"], build);
  on(["photo", "network", "target", "method", "layer", "language", "texts"], forget);
  on(["main", "layers"], later);
  on(["mainError"], () => get().mainError && dropStale([]));
  on(["others", "look", "view.signed", "view.colormap", "view.signedColormap", "view.opacity"], drawAll);
  on(["main", "method", "layer", "network"], markChosen);
  on(["view.at", "others", "view.signed"], showCrosshair);
}

function heading(tag, name) {
  return el(
    "div",
    { class: "heading" },
    el(tag, { t: `strips.${name}` }),
    el("p", { class: "note", t: `strips.${name}-note` })
  );
}

/** Methods that can be asked for here: those for words belong to a network's answer in words. */
function methods() {
  return get().page.methods.filter(({ family }) => family !== "words");
}

function build() {
  const { network, layers } = get();
  if (!network) return;
  tiles.clear();
  for (const [list, isQuick] of [[quickList, true], [slowList, false]]) {
    const listed = methods().filter(({ quick: can }) => can === isQuick);
    list.replaceChildren(
      ...listed.map(({ name, use }) => {
        const take = () => set({ method: name });
        return tile({ key: `method:${name}`, name, about: use, slow: !isQuick, take });
      })
    );
  }
  layerList.replaceChildren(
    ...layers.map(({ path, grid, chosen, reason }) => {
      const take = () => set({ layer: chosen ? null : path });
      const facts = `${grid.join("×")}${chosen ? ` · ${t("strips.chosen")}` : ""}`;
      return tile({ key: `layer:${path}`, name: path, about: reason, facts, take });
    })
  );
  forget();
  drawAll();
  markChosen();
}

function tile({ key, name, about, facts = "", slow = false, take }) {
  const canvas = el("canvas", { width: 1, height: 1 });
  const hair = el("span", { class: "hair", hidden: true });
  const value = el("span", { class: "value" });
  const picture = el("span", { class: "picture" }, canvas, hair, value);
  const button = el(
    "button",
    { type: "button", class: "tile", title: about, "aria-pressed": "false", onclick: take },
    picture,
    el("span", { class: "name" }, el("span", {}, ...breakable(name)), facts && el("small", {}, facts))
  );
  const run = el(
    "button",
    { type: "button", class: "run", "aria-label": t("strips.run", { name }), hidden: !slow, onclick: () => runSlow(key) },
    t("strips.run-short")
  );
  const item = el("li", { class: "missing", data: { key } }, button, run);
  tiles.set(key, { key, item, button, canvas, hair, run, slow, value, about, picture });
  button.addEventListener("pointermove", (event) => {
    const map = get().others[key];
    if (map?.heat && isMoved(event)) hoverAt(pointOfTile(event, canvas, map));
  });
  button.addEventListener("pointerleave", () => hoverAt(null));
  return item;
}

/** Return a name in pieces that may stand on lines of their own: a dotted path breaks at its dots. */
function breakable(name) {
  return name.split(/(?<=[.-])/).flatMap((part, n) => (n ? [el("wbr"), part] : [part]));
}

/** Stop what is being made, as it is of another photo, target or layer. */
function forget() {
  clearTimeout(timer);
  quick?.abort();
  quick = null;
  for (const stop of running.values()) stop.abort();
  running.clear();
}

function later() {
  clearTimeout(timer);
  if (get().main && near) timer = setTimeout(makeStrips, PAUSE);
}

/** Return what the method of a tile reads: "layer", "input" or "network". */
function placeOf(key) {
  return get().page.methods.find(({ name }) => key === `method:${name}`)?.place;
}

/** Return what each tile shows: its request, by key. */
function requestOf(key) {
  const name = key.slice(key.indexOf(":") + 1);
  if (key.startsWith("layer:")) return mapRequest({ layer: name });
  return mapRequest({ method: name });
}

async function makeStrips() {
  const { page, main } = get();
  quick?.abort();
  const abort = (quick = new AbortController());
  const method = page.methods.find(({ name }) => name === main.method);
  const reads = method?.place === "layer";
  const chosen = get().layers.find((layer) => layer.chosen);
  layerNote.textContent = reads
    ? chosen ? t("strips.chosen-because", { layer: chosen.path, reason: chosen.reason }) : ""
    : t("strips.no-layer", { method: main.method });
  layerList.hidden = !reads;
  const isQuick = method?.quick ?? false;
  const wanted = [...tiles.values()].filter(({ key, slow }) => !slow && !isFresh(key) && !neverWorks(key));
  const ofLayers = wanted.filter(({ key }) => key.startsWith("layer:") && reads && isQuick);
  const ofMethods = wanted.filter(({ key }) => key.startsWith("method:"));
  // Late layers are the quickest.
  const keys = [...ofLayers.reverse(), ...ofMethods].map(({ key }) => key);
  dropStale(keys);
  for (const entry of tiles.values()) {
    const stale = entry.key.startsWith("layer:") && reads && !isQuick;
    entry.run.hidden = !(entry.slow || stale) || isFresh(entry.key);
  }
  try {
    await make(keys, "strips", abort.signal);
  } catch (error) {
    if (!isStopped(error)) tellError(error);
  }
}

/** Drop the maps of tiles that are of something else, unless they are about to be made anew. */
function dropStale(keys) {
  const kept = Object.entries(get().others).filter(
    ([key]) => !tiles.has(key) || keys.includes(key) || isFresh(key)
  );
  if (kept.length < Object.keys(get().others).length) set({ others: Object.fromEntries(kept) });
}

/** Whether the map of a tile is of what is explained now. */
function isFresh(key) {
  const map = get().others[key];
  return Boolean(map) && map.asked === JSON.stringify(requestOf(key)) + get().photo.id + get().language;
}

/** Whether a method that reads the network itself is known not to work on this one. */
function neverWorks(key) {
  return impossible.has(key + get().network.name);
}

function make(keys, name, signal, onProgress) {
  const requests = keys.map(requestOf);
  const keep = (number, map) => {
    const asked = JSON.stringify(requests[number]) + get().photo.id + get().language;
    set({ others: { ...get().others, [keys[number]]: { ...map, asked } } });
  };
  const onError = (number, error) => {
    const [key, { network }] = [keys[number], get()];
    if (placeOf(key) === "network") impossible.set(key + network.name, error);
    keep(number, { error });
  };
  return makeMaps(requests, { name, signal, onProgress, onMap: keep, onError });
}

async function runSlow(key) {
  const entry = tiles.get(key);
  if (running.has(key)) return running.get(key).abort();
  const abort = new AbortController();
  running.set(key, abort);
  const bar = el("progress", { max: "1", tLabel: "view.progress" });
  entry.picture.append(bar);
  entry.run.textContent = t("view.stop");
  try {
    await make([key], key.slice(0, 40), abort.signal, ({ done, total }) => (bar.value = done / total));
    entry.run.hidden = isFresh(key);
  } catch (error) {
    if (!isStopped(error)) tellError(error);
  } finally {
    bar.remove();
    entry.run.textContent = t("strips.run-short");
    if (running.get(key) === abort) running.delete(key);
  }
}

async function drawAll() {
  const { photo } = get();
  if (!photo) return;
  let picture;
  try {
    picture = await pictureOf(photo);
  } catch {
    return; // the stage tells
  }
  if (get().photo !== photo) return;
  const { others, network, view, look } = get();
  const { signed, colormap, signedColormap, opacity } = view;
  const style = [photo.id, look?.box, signed, colormap, signedColormap, opacity].join();
  const errors = [];
  for (const tile of tiles.values()) {
    const { key, item, button, canvas, about } = tile;
    const map = others[key];
    const error = map?.error ?? impossible.get(key + network.name);
    const broken = Boolean(error) && key.startsWith("method:");
    item.hidden = broken;
    if (broken) errors.push([key.slice("method:".length), error]);
    button.title = map?.status?.message || error || about;
    if (tile.map === map && tile.style === style) continue;
    Object.assign(tile, { map, style });
    drawTile(canvas, picture, map?.heat ? map : null);
    item.classList.toggle("blank", Boolean(map?.status && map.status.name !== "ok"));
    item.classList.toggle("missing", !map?.heat);
  }
  cannot.hidden = !errors.length;
  cannot.querySelector("summary").textContent = t("strips.cannot", { count: errors.length });
  cannot.querySelector("dl").replaceChildren(
    ...errors.flatMap(([name, error]) => [el("dt", {}, name), el("dd", {}, error)])
  );
  showCrosshair();
}

function markChosen() {
  const { main } = get();
  for (const { key, button } of tiles.values()) {
    const chosen = main && (key === `method:${main.method}` || key === `layer:${main.layer}`);
    button.setAttribute("aria-pressed", String(Boolean(chosen)));
  }
}

/** Show the crosshair and the value on all tiles. */
function showCrosshair() {
  const { view, others } = get();
  for (const { key, hair, value } of tiles.values()) {
    const map = others[key];
    const here = view.at && map?.heat ? valueAt(map, view.at) : null;
    hair.hidden = !here;
    value.textContent = here ? here.heat.toFixed(2) : "";
    if (!here) continue;
    const [left, top, right, bottom] = map.box;
    hair.style.left = `${(100 * (view.at[0] - left)) / (right - left)}%`;
    hair.style.top = `${(100 * (view.at[1] - top)) / (bottom - top)}%`;
  }
}
