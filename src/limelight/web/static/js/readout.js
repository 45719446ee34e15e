/** What is read off the stage: the values under the crosshair, the colour bar, the map's status. */

import { el, percent, short } from "./dom.js";
import { palette, regions, shareOfPhoto, valueAt } from "./heat.js";
import { stopMain } from "./requests.js";
import { stepButton, stepsFor } from "./steps.js";
import { get, on, set, setView } from "./store.js";
import { t } from "./texts.js";

/** How far from its middle the lines of the crosshair begin, in CSS pixels. */
const GAP = 7;

/** How values are read: by the pointer, or where nothing hovers by a tap. */
const HINT = matchMedia("(hover: none)").matches ? "view.hint-touch" : "view.hint";

let values, legend, banner, progress, stage;

/** Draw the readout in the view and below it. */
export function mount(view, below, stageFunctions) {
  stage = stageFunctions;
  values = el("output", { class: "values" });
  legend = el("div", { class: "legend" });
  below.append(el("div", { class: "readout" }, values, legend));
  banner = el("div", { class: "banner", role: "status", hidden: true });
  progress = el("div", { class: "working", hidden: true });
  view.append(progress, banner);
  stage.onOverlay(drawCrosshair);
  on(["view.at"], () => stage.redrawOverlay());
  on(["view.at", "main", "others", "look", "view.threshold", "language"], showValues);
  on(["main", "view.signed", "view.colormap", "view.signedColormap", "language"], showLegend);
  on(["main", "mainError", "view.signed", "language", "photo"], showBanner);
  on(["busy", "progress", "language"], showProgress);
  showValues();
}

function drawCrosshair(context, pixel) {
  const { photo, view } = get();
  if (!view.at) return;
  const [x, y] = view.at;
  const gap = GAP * pixel;
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, y, x - gap, y], [x + gap, y, photo.width, y], [x, 0, x, y - gap], [x, y + gap, x, photo.height],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  for (const [width, style] of [[3, "rgba(0, 0, 0, 0.5)"], [1, "#ffffff"]]) {
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.stroke();
  }
}

function showValues() {
  const { view, main, others, photo } = get();
  const parts = view.at && photo ? pointValues(view.at, main, others.compare) : [];
  if (!parts.length) parts.push(el("span", { class: "hint" }, t(photo ? HINT : "view.hint-empty")));
  if (main?.status.name === "ok" && view.threshold !== null) parts.push(thresholdFacts(main, view));
  values.replaceChildren(...parts);
}

function pointValues(at, main, other) {
  const [x, y] = at.map(Math.floor);
  const colour = stage.colourAt(at);
  const parts = [fact("view.place", `${x}, ${y}`, "place")];
  if (colour) {
    const swatch = el("i", { class: "swatch" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    parts.push(el("span", { class: "fact colour" }, t("view.colour"), " ", swatch, el("b", {}, colour.join(" "))));
  }
  const here = main && valueAt(main, at);
  if (here) {
    parts.push(fact("view.heat", here.heat.toFixed(3), "heat"), fact("view.raw", short(here.signed), "raw"));
  } else if (main) {
    parts.push(el("span", { class: "fact" }, t("view.unseen")));
  }
  const there = other?.heat && valueAt(other, at);
  if (there) parts.push(fact("view.heat-other", there.heat.toFixed(3), "heat-other"));
  return parts;
}

function fact(key, value, name) {
  return el("span", { class: "fact", data: { fact: name } }, t(key), " ", el("b", {}, value));
}

function thresholdFacts(main, { threshold }) {
  const { photo } = get();
  const { mask, boxes } = regions(main, threshold);
  const share = percent(shareOfPhoto(main, mask, photo));
  const told = t("view.regions", { count: boxes.length, share });
  return el("span", { class: "fact", data: { fact: "regions" } }, told);
}

function showLegend() {
  const { main, view, page } = get();
  const { heat, signed } = page.colormaps;
  const of = view.signed ? signed : heat;
  const name = (view.signed ? view.signedColormap : view.colormap) ?? Object.keys(of)[0];
  const bar = el("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  const picture = context.createImageData(256, 1);
  palette(of[name]).forEach((part, i) => (picture.data[Math.floor(i / 3) * 4 + (i % 3)] = part));
  for (let i = 3; i < picture.data.length; i += 4) picture.data[i] = 255;
  context.putImageData(picture, 0, 0);
  const largest = main?.largest ?? null;
  const ends = view.signed
    ? [short(largest === null ? null : -largest), "0", short(largest)]
    : ["0", t("view.heat"), "1"];
  legend.replaceChildren(bar, el("div", { class: "ends" }, ...ends.map((end) => el("span", {}, end))));
}

function showProgress() {
  const { busy, progress: told } = get();
  progress.hidden = busy === 0;
  progress.replaceChildren();
  if (!told) return;
  const share = told.done / told.total;
  const bar = el("progress", { max: "1", value: share, tLabel: "view.progress" });
  const stop = el("button", { type: "button", onclick: stopMain, t: "view.stop" });
  const words = t("view.runs", { task: told.task, done: told.done, total: told.total });
  progress.append(el("span", {}, words), bar, stop);
}

/** Say in words what is wrong with a map, and offer what can be done about it. */
function showBanner() {
  const { main, mainError, photo } = get();
  const status = main?.status;
  banner.hidden = !photo || (!mainError && (!status || status.name === "ok"));
  banner.replaceChildren();
  if (banner.hidden) return;
  const name = mainError ? "error" : status.name;
  const [heading, text] = mainError
    ? [t("view.no-map"), mainError.text]
    : [t(`view.status-${name}`), status.message];
  const steps = el("div", { class: "steps" });
  banner.append(el("strong", {}, heading), el("p", {}, text), steps);
  if (mainError) steps.append(...afterError());
  else offerSteps(main, steps);
}

/** Offer what can be done about a blank map, once that was tried. */
async function offerSteps(main, steps) {
  if (get().view.signed && main.largest > 0) {
    steps.append(el("button", { type: "button", onclick: () => setView({ signed: false }) }, t("view.show-heat")));
  }
  const found = await stepsFor(main).catch(() => []); // the panel says what went wrong
  const offered = found.filter(({ action }) => action !== "signed" || !get().view.signed);
  if (steps.isConnected) steps.append(...offered.map((step) => stepButton(step, { short: true })));
}

/** Return buttons back to what limelight takes itself, as what was taken instead cannot be shown. */
function afterError() {
  const { layer, layers, method } = get();
  const steps = [];
  if (layer) {
    const chosen = layers.find((each) => each.chosen)?.path ?? "";
    steps.push(["view.take-layer", { layer: chosen }, { layer: null }]);
  }
  if (method) steps.push(["view.take-default", {}, { method: null }]);
  return steps.map(([key, values, changes]) =>
    el("button", { type: "button", onclick: () => set(changes) }, t(key, values))
  );
}
