/** The objects that a detector found: boxes on the stage, and a list; one is chosen to be explained. */

import { el, percent } from "./dom.js";
import { get, on, set } from "./store.js";
import { onOverlay, onPoint, redrawOverlay } from "./stage.js";
import { t } from "./texts.js";

/** The sides of boxes that differ by less than this share of the photo are the same box. */
const SAME = 1e-3;

/** How many objects are listed before the reader asks for all. */
const FIRST = 8;

let section, list, more, none, all, about;
let marked = null; // the object that the pointer or the focus is on, in the list

/** Draw the list in a root, and the boxes on the stage. */
export function mount(root) {
  list = el("ol", { class: "chips", id: "objects-list", tLabel: "objects.heading" });
  more = el("button", { type: "button", class: "quiet", hidden: true, onclick: showAll });
  none = el("p", { class: "note", t: "objects.none" });
  all = el("button", { type: "button", class: "quiet", t: "objects.release", onclick: release });
  about = el("p", { class: "note", t: "objects.note" });
  section = el("div", { class: "objects", hidden: true }, el("h3", { t: "objects.heading" }), about, list, none, more, all);
  root.querySelector(".chips").before(section);
  on(["look", "region", "target", "language"], show);
  on(["look"], () => (section.dataset.all = "no"));
  onPoint(choosePointed);
  onOverlay(drawBoxes);
  show();
}

function objects() {
  return get().look?.objects ?? null;
}

/** Return the object that is explained, by the box that is the target; null if there is none. */
function chosen() {
  const { region, photo } = get();
  const least = SAME * Math.max(photo?.width ?? 1, photo?.height ?? 1);
  const same = ({ box }) => box.every((side, n) => Math.abs(side - region[n]) <= least);
  return region ? (objects()?.find(same) ?? null) : null;
}

/** Explain an object: its class, in its box. */
function choose({ index, box }) {
  set({ region: box, target: { class: index, box } });
}

/** Explain no object that was chosen: the most probable one is. */
function release() {
  set({ region: null, target: {} });
}

function showAll() {
  section.dataset.all = "yes";
  show();
  list.querySelectorAll("button")[FIRST]?.focus();
}

function show() {
  const found = objects();
  section.hidden = found === null;
  section.parentElement.classList.toggle("has-objects", found !== null);
  if (found === null) {
    list.replaceChildren();
    return redrawOverlay();
  }
  const now = chosen();
  const shown = section.dataset.all === "yes" ? found : found.slice(0, FIRST);
  const held = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...shown.map((each) => el("li", {}, chip(each, each === now))));
  if (held >= 0) list.querySelectorAll("button")[held]?.focus({ preventScroll: true });
  list.hidden = !found.length;
  about.hidden = !found.length;
  none.hidden = Boolean(found.length);
  more.hidden = shown.length === found.length;
  more.textContent = t("objects.more", { count: found.length });
  all.hidden = now === null;
  redrawOverlay();
}

function chip(found, isChosen) {
  const bar = el("i", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${100 * found.probability}%`;
  const mark = (object) => () => {
    marked = object;
    redrawOverlay();
  };
  return el(
    "button",
    {
      type: "button", class: "chip", "aria-pressed": String(isChosen),
      onclick: () => (isChosen ? release() : choose(found)),
      onpointerenter: mark(found), onpointerleave: mark(null), onfocus: mark(found), onblur: mark(null),
    },
    bar,
    el("span", { class: "name" }, found.name),
    el("span", { class: "probability" }, percent(found.probability))
  );
}

/** A click in a box chooses its object; of several the smallest, and not the one that is chosen. */
function choosePointed([x, y]) {
  const inside = (objects() ?? []).filter(({ box: [left, top, right, bottom] }) =>
    x >= left && x <= right && y >= top && y <= bottom
  );
  const size = ({ box: [left, top, right, bottom] }) => (right - left) * (bottom - top);
  const [smallest] = inside.sort((one, other) => size(one) - size(other));
  if (smallest && smallest !== chosen()) choose(smallest);
}

function drawBoxes(context, pixel) {
  const now = chosen();
  for (const found of [...(objects() ?? [])].reverse()) {
    if (found !== now) drawBox(context, pixel, found, found === marked);
  }
  if (now) label(context, pixel, now, "#ffd166");
}

function drawBox(context, pixel, found, isMarked) {
  const [left, top, right, bottom] = found.box;
  const colour = isMarked ? "#ffd166" : "#ffffff";
  for (const [width, style] of [[isMarked ? 4 : 3, "rgba(0, 0, 0, 0.6)"], [isMarked ? 2 : 1.2, colour]]) {
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.strokeRect(left, top, right - left, bottom - top);
  }
  if (isMarked || found.probability >= 0.3) label(context, pixel, found, colour);
}

/** Write name and probability at the lower left corner of a box, inside it. */
function label(context, pixel, { name, probability, box: [left, , , bottom] }, colour) {
  const text = `${name} ${percent(probability)}`;
  context.font = `600 ${12 * pixel}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + 8 * pixel;
  context.fillStyle = colour;
  context.globalAlpha = 0.92;
  context.fillRect(left, bottom - 18 * pixel, wide, 18 * pixel);
  context.globalAlpha = 1;
  context.fillStyle = "#1c1e26";
  context.fillText(text, left + 4 * pixel, bottom - 5 * pixel);
}
