/** The brush: a tool of the stage that paints over parts of the photo, by pointer and by keys. */

import { onOverlay, redrawOverlay, registerTool } from "./stage.js";
import { get, on, set } from "./store.js";
import { isBlank, rasterOver, striped, stroke } from "./strokes.js";

/** How many strokes can be taken back. */
const MOST_UNDONE = 40;

/** By how much the keys [ and ] change the brush, and its least and largest size. */
const LARGER = 1.25;
export const SIZES = [0.02, 0.4];

const changed = [];
let raster = null;
let before = []; // the cells before each stroke
let stripes = null;
let last = null; // where the stroke is, or null between two strokes
let isDown = false; // whether the keys paint along

/** Call a listener with the raster whenever what is painted changes; null without a photo. */
export function onPainted(listener) {
  changed.push(listener);
}

/** Let the brush work. */
export function mountBrush() {
  registerTool("brush", { down: begin, move: goOn, up: end, key });
  onOverlay(draw);
  on(["photo"], startAnew);
  on(["view.tool", "brush", "view.at"], redrawOverlay);
  document.addEventListener("keydown", undoByKey);
}

/** Ctrl+Z takes the last stroke back, but for where letters are written. */
function undoByKey(event) {
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (!isUndo || !canUndo() || get().view.tool !== "brush" || event.target.closest("input[type=text], textarea")) return;
  event.preventDefault();
  undo();
}

/** Whether there is a stroke to take back. */
export function canUndo() {
  return before.length > 0;
}

/** Take the last stroke back. */
export function undo() {
  if (!before.length) return;
  raster.cells = before.pop();
  tell();
}

/** Take all paint away; it can be taken back. */
export function clear() {
  if (!raster || isBlank(raster)) return;
  remember();
  raster.cells = new Uint8Array(raster.cells.length);
  tell();
}

/** Whether the keys paint along the way of the crosshair. */
export function paintsAlong() {
  return isDown;
}

function startAnew() {
  const { photo } = get();
  raster = photo && rasterOver(photo);
  before = [];
  last = null;
  isDown = false;
  tell();
}

function remember() {
  before.push(raster.cells.slice());
  if (before.length > MOST_UNDONE) before.shift();
}

function begin(point) {
  if (!raster) return;
  remember();
  last = point;
  paint(point);
}

function goOn(point) {
  if (last) paint(point);
}

function end() {
  last = null;
}

function paint(point) {
  const { photo, brush } = get();
  const over = ([x, y]) => [x / photo.width, y / photo.height];
  const diameter = brush.size * Math.min(raster.rows, raster.columns);
  stroke(raster, over(last), over(point), diameter, Boolean(brush.erase));
  last = point;
  tell();
}

/** Space paints a dab at the crosshair; Enter lets the arrows paint along, or no longer. */
function key(event, point) {
  const { brush } = get();
  if (event.key === " ") {
    begin(point);
    end();
  } else if (event.key === "Enter") {
    isDown = !isDown;
    if (isDown) begin(point);
    else end();
    tell();
  } else if (event.key.startsWith("Arrow")) {
    if (isDown) goOn(point);
  } else if (event.key === "[" || event.key === "]") {
    const size = brush.size * (event.key === "]" ? LARGER : 1 / LARGER);
    set({ brush: { ...brush, size: Math.min(Math.max(size, SIZES[0]), SIZES[1]) } });
  } else if (event.key === "Escape" && isDown) {
    isDown = false;
    end();
    tell();
  } else {
    return false;
  }
  return true;
}

function tell() {
  stripes = null;
  redrawOverlay();
  for (const listener of changed) listener(raster);
}

function draw(context, pixel) {
  const { photo, view, brush } = get();
  if (!raster || !photo) return;
  if (!isBlank(raster)) {
    stripes ??= striped(raster);
    context.drawImage(stripes, 0, 0, photo.width, photo.height);
  }
  if (view.tool !== "brush" || !view.at) return;
  const radius = (brush.size * Math.min(photo.width, photo.height)) / 2;
  context.beginPath();
  context.arc(view.at[0], view.at[1], radius, 0, 2 * Math.PI);
  for (const [width, style] of [[3, "rgba(0, 0, 0, 0.6)"], [1.5, "#ffffff"]]) {
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.stroke();
  }
}
