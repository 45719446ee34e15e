/** What the pointer and the keys do on the stage: point, draw a box, and what others register. */

import { el, isMoved } from "./dom.js";
import { get, on, set, setView } from "./store.js";
import { t } from "./texts.js";

/** A box narrower or lower than this many CSS pixels is none: it takes the one before away. */
const LEAST_BOX = 4;

/** How many CSS pixels, about, an arrow moves the crosshair; with shift ten times as many. */
const STEP = 2;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const registered = new Map();
const pointed = [];
let bar, view, stage;
let pinned = null;
let draft = null;

/**
 * Let a tool be chosen on the stage.
 *
 * @param {string} name its name; the texts call it "view.tool-NAME"
 * @param {object} tool `down(point, event)`, `move(point, event)`, `up(point, event)` with points in
 *   pixels of the photo; `cancel()` instead of `up` where the browser takes the pointer away; `key(event, point)` returns whether it took the key, at the crosshair
 */
export function registerTool(name, tool) {
  registered.set(name, tool);
  if (bar) showTools();
}

/** Call a function with the point of the photo whenever the reader points there: clicks, or Enter. */
export function onPoint(listener) {
  pointed.push(listener);
}

/** Point at a place of the photo. */
export function pointAt(point) {
  pinned = point;
  setView({ at: point });
  for (const listener of pointed) listener(point);
}

/** Move the crosshair with the pointer; null: back to where the reader pointed last. */
export function hoverAt(point) {
  setView({ at: point ?? pinned });
}

/** Let the tools work: buttons in a bar, pointer and keys on the view. */
export function mount(toolbar, viewElement, stageFunctions) {
  view = viewElement;
  stage = stageFunctions;
  bar = el("div", { class: "choice", role: "group", tLabel: "view.tools" });
  toolbar.append(bar);
  // A finger that scrolls the page begins as one that points, so nothing happens before it is lifted.
  registered.set("point", { up: pointAt, cancel: () => hoverAt(null) });
  registered.set("box", boxTool());
  showTools();
  on(["view.tool"], showTool);
  on(["photo"], () => (pinned = draft = null));
  on(["region"], () => stage.redrawOverlay());
  stage.onOverlay(drawBox);
  view.addEventListener("pointerdown", down);
  view.addEventListener("pointermove", move);
  view.addEventListener("pointerup", up);
  view.addEventListener("pointercancel", cancel);
  view.addEventListener("pointerleave", (event) => view.hasPointerCapture(event.pointerId) || hoverAt(null));
  view.addEventListener("keydown", key);
}

function showTools() {
  const order = ["point", "box", ...registered.keys()];
  bar.replaceChildren(
    ...[...new Set(order)].map((name) => {
      const choose = () => setView({ tool: name });
      const words = { t: `view.tool-${name}`, tTitle: `view.tool-${name}-hint` };
      return el("button", { type: "button", ...words, data: { tool: name }, onclick: choose });
    })
  );
  showTool();
}

function showTool() {
  const { tool } = get().view;
  for (const button of bar.children) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }
  view.dataset.tool = tool;
  draft = null;
  stage.redrawOverlay();
}

function current() {
  return registered.get(get().view.tool);
}

function down(event) {
  if (event.button !== 0 || event.target.closest("button, [role=slider]")) return;
  const point = stage.photoPoint(event);
  if (!point) return;
  view.setPointerCapture(event.pointerId);
  view.focus({ preventScroll: true });
  current().down?.(point, event);
}

function move(event) {
  if (!get().photo) return;
  const held = view.hasPointerCapture(event.pointerId);
  const point = stage.photoPoint(event, held);
  if (isMoved(event)) hoverAt(point);
  if (held && point) current().move?.(point, event);
}

function up(event) {
  if (!view.hasPointerCapture(event.pointerId)) return;
  const point = stage.photoPoint(event, true);
  if (event.pointerType !== "mouse") pinned = point; // a finger leaves no pointer behind
  view.releasePointerCapture(event.pointerId);
  current().up?.(point, event);
}

/** The browser took the pointer away, as it scrolls the page. */
function cancel(event) {
  if (!get().photo) return;
  const { cancel: stop, up: end } = current();
  if (stop) stop();
  else end?.(stage.photoPoint(event, true), event);
}

function key(event) {
  const { photo, view: shown } = get();
  if (event.target !== view || !photo || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = shown.at ?? [photo.width / 2, photo.height / 2];
  if (event.key in ARROWS) {
    const step = Math.max(1, Math.round((STEP * photo.width) / view.clientWidth)) * (event.shiftKey ? 10 : 1);
    const [x, y] = ARROWS[event.key];
    const moved = [
      Math.min(Math.max(Math.round(at[0] + x * step), 0), photo.width - 1),
      Math.min(Math.max(Math.round(at[1] + y * step), 0), photo.height - 1),
    ];
    pinned = moved;
    setView({ at: moved });
    current().key?.(event, moved);
  } else if (current().key?.(event, at)) {
    // The tool took it.
  } else if (event.key === "Enter" || event.key === " ") {
    pointAt(at);
  } else if (event.key === "Escape") {
    pinned = null;
    setView({ at: null });
  } else {
    return;
  }
  event.preventDefault();
}

/** The box: drawn from corner to corner, or by Enter at one corner and Enter at the other. */
function boxTool() {
  let from = null;
  const between = (to) => [
    Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1]),
  ];
  const drawn = (to) => {
    draft = from && between(to);
    stage.redrawOverlay();
  };
  const finish = (to) => {
    const box = between(to);
    const least = (LEAST_BOX * get().photo.width) / view.clientWidth;
    from = draft = null;
    set({ region: Math.min(box[2] - box[0], box[3] - box[1]) < least ? null : box });
    stage.redrawOverlay();
  };
  return {
    down: (point) => {
      from = point;
      drawn(point);
    },
    move: drawn,
    up: finish,
    key: (event, at) => {
      if (event.key in ARROWS) {
        drawn(at);
      } else if (event.key === "Enter" || event.key === " ") {
        if (draft) finish(at);
        else {
          from = at;
          drawn(at);
        }
      } else if (event.key === "Escape") {
        from = draft = null;
        set({ region: null });
        stage.redrawOverlay();
      } else {
        return false;
      }
      return true;
    },
  };
}

function drawBox(context, pixel) {
  const box = draft ?? get().region;
  if (!box) return;
  const [left, top, right, bottom] = box;
  for (const [width, style] of [[4, "rgba(0, 0, 0, 0.7)"], [2, "#ffd166"]]) {
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.font = `600 ${12 * pixel}px system-ui, sans-serif`;
  const label = t("view.region");
  const wide = context.measureText(label).width + 8 * pixel;
  context.fillStyle = "#ffd166";
  context.fillRect(left, top, wide, 18 * pixel);
  context.fillStyle = "#1c1e26";
  context.fillText(label, left + 4 * pixel, top + 13 * pixel);
}
