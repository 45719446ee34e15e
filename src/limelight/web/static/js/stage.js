/** The large view: the photo, the heat in the part that the network saw, and what tools draw. */

import * as compare from "./compare.js";
import { el } from "./dom.js";
import { paint, palette, regions } from "./heat.js";
import { tellError } from "./notices.js";
import { pictureOf } from "./requests.js";
import * as readout from "./readout.js";
import { get, on, setView } from "./store.js";
import * as tools from "./tools.js";
import * as controls from "./view_controls.js";

/** How dark the part of the photo is that the network did not see, and what is below a threshold. */
const UNSEEN = "rgba(12, 12, 18, 0.62)";

const painted = new WeakMap();
const overlaid = [];
let view, canvas, over, bitmap, drawnPhoto, colours;

/** Where the photo lies in the view, in CSS pixels. */
let place = { left: 0, top: 0, scale: 1, width: 0, height: 0 };

export { onPoint, registerTool } from "./tools.js";

/** Draw the stage in a root. */
export function mount(root) {
  const { heat, signed } = get().page.colormaps;
  colours = { ...heat, ...signed };
  canvas = el("canvas", { class: "picture" });
  over = el("canvas", { class: "over" });
  view = el(
    "div",
    { id: "stage-view", class: "view", tabindex: "0", role: "application", tLabel: "view.stage" },
    canvas,
    over
  );
  const toolbar = el("div", { class: "toolbar" });
  const below = el("div", { class: "below" });
  root.append(el("div", { class: "stage-body" }, toolbar, view, below));
  tools.mount(toolbar, view, { photoPoint, redrawOverlay, onOverlay });
  compare.mount(toolbar, view, { screenPoint, photoPoint });
  readout.mount(view, below, { colourAt, redrawOverlay, onOverlay });
  controls.mount(below);
  new ResizeObserver(layOut).observe(view);
  on(["photo"], showPhoto);
  on(["main", "look", "others", "mainError"], draw);
  on(["view.opacity", "view.colormap", "view.signedColormap", "view.signed"], draw);
  on(["view.threshold", "view.shape", "view.compare", "view.swipe"], draw);
}

/** Return the point of the photo under an event, [x, y] in its pixels; null if it is outside. */
export function photoPoint(event, clamped = false) {
  const { photo } = get();
  if (!photo) return null;
  const rect = view.getBoundingClientRect();
  const x = (event.clientX - rect.left - place.left) / place.scale;
  const y = (event.clientY - rect.top - place.top) / place.scale;
  const kept = [clamp(x, 0, photo.width - 0.01), clamp(y, 0, photo.height - 0.01)];
  return clamped || (kept[0] === x && kept[1] === y) ? kept : null;
}

/** Return where a point of the photo is in the view, in CSS pixels. */
export function screenPoint([x, y]) {
  return [place.left + x * place.scale, place.top + y * place.scale];
}

/** Return the canvas above the photo that tools draw on; `onOverlay` says when, and how. */
export function overlay() {
  return over;
}

/**
 * Call a function whenever the overlay is drawn anew. It is given the context, in which one unit is
 * a pixel of the photo, and how many of these are one CSS pixel.
 */
export function onOverlay(draw) {
  overlaid.push(draw);
  redrawOverlay();
}

/** Draw the overlay anew. */
export function redrawOverlay() {
  if (!over || !get().photo) return;
  const context = over.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, over.width, over.height);
  for (const draw of overlaid) {
    context.save();
    toPhoto(context);
    draw(context, 1 / place.scale);
    context.restore();
  }
}

/** Return the colour of the photo at a point, as [red, green, blue]; null before it is loaded. */
export function colourAt([x, y]) {
  const { photo } = get();
  if (!bitmap || drawnPhoto !== photo) return null;
  const column = Math.floor((x / photo.width) * bitmap.width);
  const row = Math.floor((y / photo.height) * bitmap.height);
  return [...bitmap.getContext("2d").getImageData(column, row, 1, 1).data.slice(0, 3)];
}

async function showPhoto() {
  const { photo } = get();
  view.classList.toggle("loading", Boolean(photo));
  setView({ at: null });
  layOut();
  if (!photo) return;
  try {
    const picture = await pictureOf(photo);
    if (get().photo !== photo) return;
    bitmap = new OffscreenCanvas(picture.width, picture.height);
    bitmap.getContext("2d", { willReadFrequently: true }).drawImage(picture, 0, 0);
    drawnPhoto = photo;
    view.classList.remove("loading");
    draw();
  } catch (error) {
    tellError(error);
  }
}

function layOut() {
  const { photo } = get();
  const { clientWidth, clientHeight } = view;
  for (const each of [canvas, over]) {
    each.width = Math.round(clientWidth * devicePixelRatio);
    each.height = Math.round(clientHeight * devicePixelRatio);
  }
  if (photo) view.style.setProperty("--aspect", photo.width / photo.height);
  if (!photo || !clientWidth) return;
  const scale = Math.min(clientWidth / photo.width, clientHeight / photo.height);
  const [width, height] = [photo.width * scale, photo.height * scale];
  place = { left: (clientWidth - width) / 2, top: (clientHeight - height) / 2, scale, width, height };
  draw();
  view.dispatchEvent(new Event("placed"));
}

/** Draw photo, heat, crop and threshold. */
function draw() {
  const { photo, look, main, others } = get();
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!photo || drawnPhoto !== photo) return;
  context.imageSmoothingQuality = "high";
  toPhoto(context);
  context.drawImage(bitmap, 0, 0, photo.width, photo.height);
  context.beginPath();
  context.rect(0, 0, photo.width, photo.height);
  context.clip();
  const other = others.compare?.heat ? others.compare : null;
  const cut = get().view.swipe * photo.width;
  if (main) within(context, other ? [0, cut] : [0, photo.width], () => drawMap(context, main));
  if (other) within(context, [cut, photo.width], () => drawMap(context, other));
  if (!main && look) drawCrop(context, look.box);
  redrawOverlay();
}

/** Draw in a part of the photo from one x to another. */
function within(context, [from, to], drawPart) {
  const { photo } = get();
  context.save();
  context.beginPath();
  context.rect(from, 0, to - from, photo.height);
  context.clip();
  drawPart();
  context.restore();
}

function drawMap(context, map) {
  const { view: shown } = get();
  const [left, top, right, bottom] = map.box;
  const cut = shown.threshold !== null && map.status.name === "ok";
  if (shown.signed || map.status.name === "ok") {
    context.globalAlpha = cut && shown.shape === "mask" ? 0 : shown.opacity;
    context.drawImage(mapCanvas(map), left, top, right - left, bottom - top);
    context.globalAlpha = 1;
  }
  drawCrop(context, map.box);
  if (cut) drawThreshold(context, map, shown);
}

/** Return a map in the colours that are chosen, painted when it is first shown in them. */
export function mapCanvas(map) {
  const { signed, colormap, signedColormap } = get().view;
  const { heat, signed: toBothSides } = get().page.colormaps;
  const name = signed
    ? (signedColormap ?? Object.keys(toBothSides)[0])
    : (colormap ?? Object.keys(heat)[0]);
  const known = painted.get(map);
  if (known?.name === name && known.signed === signed) return known.canvas;
  const made = paint(map, palette(colours[name]), signed);
  painted.set(map, { name, signed, canvas: made });
  return made;
}

/** Darken what the network did not see, and draw a line around what it saw. */
function drawCrop(context, [left, top, right, bottom]) {
  const { photo } = get();
  const line = 1 / place.scale;
  if (left <= 0 && top <= 0 && right >= photo.width && bottom >= photo.height) return;
  context.beginPath();
  context.rect(0, 0, photo.width, photo.height);
  context.rect(left, top, right - left, bottom - top);
  context.fillStyle = UNSEEN;
  context.fill("evenodd");
  context.lineWidth = line;
  context.strokeStyle = "rgba(255, 255, 255, 0.85)";
  context.setLineDash([5 * line, 4 * line]);
  context.strokeRect(left + line / 2, top + line / 2, right - left - line, bottom - top - line);
  context.setLineDash([]);
}

/** Draw the regions that are hot enough: as a mask, or as boxes. */
function drawThreshold(context, map, { threshold, shape }) {
  const found = regions(map, threshold);
  const [left, top, right, bottom] = map.box;
  const line = 1 / place.scale;
  const across = (column) => left + (column / map.columns) * (right - left);
  const down = (row) => top + (row / map.rows) * (bottom - top);
  context.beginPath();
  if (shape === "mask") {
    context.drawImage(found.shade, left, top, right - left, bottom - top);
    for (const [x0, y0, x1, y1] of found.outline) {
      context.moveTo(across(x0), down(y0));
      context.lineTo(across(x1), down(y1));
    }
  } else {
    for (const [x0, y0, x1, y1] of found.boxes) {
      context.rect(across(x0), down(y0), across(x1) - across(x0), down(y1) - down(y0));
    }
  }
  for (const [width, style] of [[3, "rgba(0, 0, 0, 0.75)"], [1.5, "#ffffff"]]) {
    context.lineWidth = width * line;
    context.strokeStyle = style;
    context.stroke();
  }
}

/** Let one unit of a context be one pixel of the photo. */
function toPhoto(context) {
  const ratio = devicePixelRatio;
  context.setTransform(
    place.scale * ratio, 0, 0, place.scale * ratio, place.left * ratio, place.top * ratio
  );
}

function clamp(value, lowest, highest) {
  return Math.min(Math.max(value, lowest), highest);
}
