/** Of a segmenter: the place that the reader pointed at last, to be explained by itself. */

import { el } from "./dom.js";
import { get, on, set } from "./store.js";
import { onOverlay, onPoint, redrawOverlay } from "./stage.js";
import { t } from "./texts.js";

/** The radius of the ring around the place that is explained, in CSS pixels. */
const RADIUS = 7;

let section, take, release, told;
let pointed = null; // where the reader pointed last, in pixels of the photo

/** Draw the choice in a root, and the place on the stage. */
export function mount(root) {
  take = el("button", { type: "button", t: "pixels.take", onclick: explain });
  release = el("button", { type: "button", class: "quiet", t: "pixels.release", onclick: explainAll });
  told = el("p", { class: "note", role: "status" });
  section = el("div", { class: "pixels", hidden: true }, told, el("div", { class: "acts" }, take, release));
  root.querySelector(".questions").before(section);
  onPoint((point) => {
    pointed = point;
    show();
  });
  on(["photo"], () => {
    pointed = null;
    show();
  });
  on(["look", "target", "language"], show);
  onOverlay(drawPlace);
  show();
}

/** Explain the class that is predicted at the place, whichever that is. */
function explain() {
  set({ region: null, target: { pixel: pointed } });
}

function explainAll() {
  const { pixel: _, ...rest } = get().target;
  set({ target: rest });
}

function show() {
  const { look, target } = get();
  section.hidden = look?.kind !== "segmenter";
  take.disabled = !pointed;
  release.hidden = !target.pixel;
  const [x, y] = (target.pixel ?? [0, 0]).map(Math.floor);
  told.textContent = target.pixel ? t("pixels.explained", { x, y }) : t("pixels.note");
  redrawOverlay();
}

function drawPlace(context, pixel) {
  const place = get().target.pixel;
  if (!place) return;
  for (const [width, style] of [[4, "rgba(0, 0, 0, 0.7)"], [2, "#ffd166"]]) {
    context.beginPath();
    context.arc(...place, RADIUS * pixel, 0, 2 * Math.PI);
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.stroke();
  }
}
