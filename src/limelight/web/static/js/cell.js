/** The cell under a point: what its channels add there, and which part of the photo it looks at. */

import { isStopped } from "./api.js";
import { el, short } from "./dom.js";
import { sentence } from "./notices.js";
import { answersInWords, askLines } from "./requests.js";
import { onOverlay, onPoint, redrawOverlay } from "./stage.js";
import { get, on } from "./store.js";
import { onPanel } from "./tabs.js";
import { t } from "./texts.js";

/** How many channels are listed. */
const CHANNELS = 8;

let body;
let at = null;
let asking = null;
let cell = null;
let looks = null; // {looks, why}, or null while it is not known
let problem = "";
let isOpen = false;

/** Draw the panel in a root. */
export function mount(root) {
  body = el("div", { class: "cell-body", "aria-live": "polite" });
  root.append(el("section", { class: "cell" }, el("h2", { t: "cell.title" }), body));
  onPoint((point) => {
    at = point;
    read();
  });
  onPanel((name) => {
    isOpen = name === "probe";
    if (isOpen && at && !cell) read();
    redrawOverlay();
  });
  onOverlay(draw);
  on(["photo"], () => forget(true));
  on(["main"], read);
  on(["language"], show);
  show();
}

function forget(point = false) {
  asking?.abort();
  asking = cell = looks = null;
  problem = "";
  if (point) at = null;
  show();
  redrawOverlay();
}

async function read() {
  asking?.abort();
  const { main } = get();
  if (answersInWords()) return forget(true);
  if (!at || !main || !isOpen) {
    if (!main || !isOpen) forget();
    return;
  }
  const abort = (asking = new AbortController());
  const request = { ...main.request, at, channels: CHANNELS, replaces: "cell" };
  try {
    await askLines("cell", request, (line) => abort.signal.aborted || take(line), { signal: abort.signal });
  } catch (error) {
    if (isStopped(error)) return;
    forget();
    problem = sentence(error);
    show();
  }
}

function take(line) {
  if (line.cell) {
    const same = cell && String([cell.cell, cell.layer, cell.grid]) === String([line.cell.cell, line.cell.layer, line.cell.grid]);
    if (!same) looks = null;
    cell = line.cell;
    problem = "";
  } else if ("looks" in line) {
    looks = line;
  }
  show();
  redrawOverlay();
}

/** Draw the cell, and where it looks: one standard deviation around the centre. */
function draw(context, pixel) {
  if (!isOpen || !cell) return;
  const [left, top, right, bottom] = cell.box;
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  lines(context, pixel, "#ffffff");
  if (!looks?.looks) return;
  const { centre: [x, y], spread } = looks.looks;
  context.beginPath();
  context.ellipse(x, y, spread[0], spread[1], 0, 0, 2 * Math.PI);
  context.setLineDash([6 * pixel, 4 * pixel]);
  lines(context, pixel, "#7fe3ff");
  context.setLineDash([]);
  context.beginPath();
  context.arc(x, y, 3.5 * pixel, 0, 2 * Math.PI);
  context.fillStyle = "#7fe3ff";
  context.fill();
  lines(context, pixel / 2, "#7fe3ff");
}

function lines(context, pixel, colour) {
  for (const [width, style] of [[4, "rgba(0, 0, 0, 0.65)"], [2, colour]]) {
    context.lineWidth = width * pixel;
    context.strokeStyle = style;
    context.stroke();
  }
}

function show() {
  if (!cell) {
    body.replaceChildren(el("p", { class: "note" }, problem || t("cell.hint")));
    return;
  }
  const [row, column] = cell.cell;
  const [rows, columns] = cell.grid;
  const facts = {
    row: row + 1, column: column + 1, rows, columns, layer: cell.layer, value: short(cell.value),
    rank: cell.rank, cells: rows * columns, method: cell.method,
    gradient: short(cell.gradient), steepest: short(cell.steepest),
  };
  body.replaceChildren(
    el("p", { class: "said" }, t("cell.place", facts)),
    el("p", { class: "note" }, t("cell.value", facts)),
    ...(cell.channels.length ? [table(), el("p", { class: "note" }, t(cell.sums ? "cell.sums" : "cell.slopes", facts))] : [el("p", { class: "note" }, t("cell.no-channels", facts))]),
    ...(cell.gradient === null ? [] : [el("p", { class: "note" }, t(gradientKey(), facts))]),
    el("p", { class: "note looks" }, looksText())
  );
}

/** Return which sentence says how steep the score is here: before a mean it is so everywhere alike. */
function gradientKey() {
  return cell.gradient > 0.999 * cell.steepest ? "cell.gradient-most" : "cell.gradient-here";
}

function looksText() {
  if (!looks) return t("cell.measuring");
  if (!looks.looks) return t(`cell.why-${looks.why}`);
  const { centre, spread, energy } = looks.looks;
  const [x, y] = centre.map(Math.round);
  const [across, down] = spread.map(Math.round);
  return t("cell.looks", { x, y, across, down, energy: short(energy, 2) });
}

/** Return the table of the channels that add most, with bars; to either side of 0 if need be. */
function table() {
  const toBothSides = cell.channels.some(({ adds }) => adds < 0);
  const most = Math.max(...cell.channels.map(({ adds }) => Math.abs(adds)), 1e-30);
  const factor = cell.sums ? "weight" : "gradient";
  const others = cell.count - cell.channels.length;
  const head = ["channel", "activation", factor, "adds"].map((name) => el("th", { scope: "col", t: `cell.${name}` }));
  return el(
    "table",
    { class: "channels" },
    el("thead", {}, el("tr", {}, ...head)),
    el(
      "tbody",
      {},
      ...cell.channels.map((each) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, String(each.channel)),
          el("td", {}, short(each.activation, 2)),
          el("td", {}, short(each[factor], 2)),
          el("td", { class: "adds" }, el("div", {}, swing(each.adds / most, toBothSides), el("b", {}, short(each.adds, 2))))
        )
      )
    ),
    el(
      "tfoot",
      {},
      others > 0 && el("tr", {}, el("th", { scope: "row", colspan: "3" }, t("cell.rest", { count: others })), el("td", {}, el("b", {}, short(cell.rest, 2)))),
      el("tr", {}, el("th", { scope: "row", colspan: "3" }, t("cell.total")), el("td", {}, el("b", {}, short(cell.total, 3))))
    )
  );
}

function swing(share, toBothSides) {
  const bar = el("i", { class: share < 0 ? "against" : "for" });
  const [zero, whole] = toBothSides ? [50, 50] : [0, 100];
  bar.style.width = `${whole * Math.abs(share)}%`;
  bar.style.left = `${share < 0 ? zero - whole * Math.abs(share) : zero}%`;
  return el("span", { class: toBothSides ? "swing both" : "swing", "aria-hidden": "true" }, bar);
}
