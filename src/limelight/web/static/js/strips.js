/** Small maps side by side: one for each method, one for each layer from early to late. */

import { isStopped } from "./api.js";
import { el } from "./dom.js";
import { valueAt } from "./heat.js";
import { tellError } from "./notices.js";
import { makeMaps, mapRequest, pictureOf } from "./requests.js";
import { get, on, set, setView } from "./store.js";
import { t } from "./texts.js";
import { drawTile, pointOfTile } from "./tiles.js";

/** How long nothing has to change before the strips are made, in milliseconds: the map goes first. */
const PAUSE = 150;

const tiles = new Map(); // by key: "method:NAME", "layer:PATH"
const running = new Map(); // what stops the slow map of a tile
let methodList, layerList, cannot, layerNote;
let quick = null;
let timer = 0;

/** Draw the strips in a root. */
export function mount(root) {
  methodList = el("ul", { class: "strip", id: "methods" });
  layerList = el("ul", { class: "strip", id: "layers" });
  cannot = el("details", { class: "cannot", hidden: true }, el("summary", {}), el("dl", {}));
  layerNote = el("p", { class: "note" });
  root.append(
    el("div", { class: "card" }, el("h2", { t: "strips.layers" }), el("p", { class: "note", t: "strips.layers-note" }), layerNote, layerList),
    el("div", { class: "card" }, el("h2", { t: "strips.methods" }), el("p", { class: "note", t: "strips.methods-note" }), methodList, cannot)
  );
  on(["network", "language"], build);
  on(["photo", "network", "target", "method", "layer", "language", "texts"], forget);
  on(["main"], later);
  on(["others", "view.signed", "view.colormap", "view.signedColormap", "view.opacity"], drawAll);
  on(["main", "method", "layer", "network"], markChosen);
  on(["view.at", "others", "view.signed"], showCrosshair);
}

/** Methods that can be asked for here: those for words belong to a network's answer in words. */
function methods() {
  return get().page.methods.filter(({ family }) => family !== "words");
}

function build() {
  const { network } = get();
  if (!network) return;
  tiles.clear();
  methodList.replaceChildren(
    ...methods().map(({ name, use, quick: isQuick }) => tile(`method:${name}`, name, use, !isQuick, () => set({ method: name })))
  );
  layerList.replaceChildren(
    ...network.layers.map(({ path, grid, chosen, reason }) => {
      const take = () => set({ layer: chosen ? null : path });
      const made = tile(`layer:${path}`, path, reason, false, take);
      made.querySelector(".facts").textContent = grid.join(" × ");
      if (chosen) made.append(el("p", { class: "chosen-mark" }, t("strips.chosen", { reason })));
      return made;
    })
  );
  forget();
  drawAll();
  markChosen();
}

function tile(key, name, about, slow, take) {
  const canvas = el("canvas", { width: 1, height: 1 });
  const hair = el("div", { class: "hair", hidden: true });
  const run = el("button", { type: "button", class: "run", "aria-label": t("strips.run", { name }), hidden: !slow, onclick: () => runSlow(key) }, t("strips.run-short"));
  const button = el("button", { type: "button", class: "tile", title: about, "aria-pressed": "false", onclick: take }, el("span", { class: "picture" }, canvas, hair), el("span", { class: "name" }, name));
  const item = el("li", { data: { key } }, button, el("p", { class: "under" }, el("span", { class: "facts" }), el("output", { class: "value" }), run));
  const entry = { key, item, button, canvas, hair, run, slow, value: item.querySelector(".value") };
  tiles.set(key, entry);
  button.addEventListener("pointermove", (event) => {
    const map = get().others[key];
    if (map?.heat) setView({ at: pointOfTile(event, canvas, map) });
  });
  button.addEventListener("pointerleave", () => setView({ at: null }));
  return item;
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
  if (get().main) timer = setTimeout(makeStrips, PAUSE);
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
  layerNote.textContent = reads ? "" : t("strips.no-layer", { method: main.method });
  layerList.hidden = !reads;
  const isQuick = method?.quick ?? false;
  const keys = [...tiles.values()]
    .filter(({ key, slow }) => (key.startsWith("layer:") ? reads && isQuick : !slow))
    .map(({ key }) => key)
    .filter((key) => !isFresh(key));
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

/** Whether the map of a tile is of what is explained now. */
function isFresh(key) {
  const map = get().others[key];
  return Boolean(map) && map.asked === JSON.stringify(requestOf(key)) + get().photo.id + get().language;
}

function make(keys, name, signal, onProgress) {
  const requests = keys.map(requestOf);
  const keep = (number, map) => {
    const asked = JSON.stringify(requests[number]) + get().photo.id + get().language;
    set({ others: { ...get().others, [keys[number]]: { ...map, asked } } });
  };
  return makeMaps(requests, { name, signal, onProgress, onMap: keep, onError: (number, error) => keep(number, { error }) });
}

async function runSlow(key) {
  const entry = tiles.get(key);
  if (running.has(key)) return running.get(key).abort();
  const abort = new AbortController();
  running.set(key, abort);
  const bar = el("progress", { max: "1", tLabel: "view.progress" });
  entry.item.querySelector(".under").append(bar);
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
  const { photo, others } = get();
  if (!photo) return;
  let picture;
  try {
    picture = await pictureOf(photo);
  } catch {
    return; // the stage tells
  }
  if (get().photo !== photo) return;
  const errors = [];
  for (const { key, item, canvas } of tiles.values()) {
    const map = others[key];
    const broken = Boolean(map?.error) && key.startsWith("method:");
    item.hidden = broken;
    if (broken) errors.push([key.slice("method:".length), map.error]);
    drawTile(canvas, picture, map?.heat ? map : null);
    item.classList.toggle("blank", Boolean(map?.status && map.status.name !== "ok"));
    item.classList.toggle("missing", !map?.heat);
    item.querySelector("button").title = map?.status?.message || item.querySelector("button").title;
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
