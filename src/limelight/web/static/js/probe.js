/** Probe: what becomes of the score when a part of the photo is painted over, while painting. */

import { isStopped } from "./api.js";
import * as brush from "./brush.js";
import { el, percent, short } from "./dom.js";
import { tellError } from "./notices.js";
import { answersInWords, ask, mapRequest, sendAgain } from "./requests.js";
import { get, on, set, setView } from "./store.js";
import { isBlank, packed } from "./strokes.js";
import { openPanel } from "./tabs.js";
import { t } from "./texts.js";

/** Of a class that is less probable than this all along, the score before softmax says more. */
const LEAST_PROBABILITY = 0.05;

/** How long painting goes on before the score is read again, in milliseconds. */
const PAUSE = 60;

/** A change of less than this share of the larger value is none to speak of. */
const LITTLE = 0.03;

/** How high the row of one answer is, in pixels. */
const ROW = 27;

let section, hint, controls, result, live, seen, answers;
let raster = null;
let timer = 0;
let asking = null; // what stops the request on its way
let isStale = false; // whether more was painted since it left
let shown = null;

/** Draw the panel in a root. */
export function mount(root) {
  hint = el("p", { class: "note" });
  controls = el("div", { class: "brush-controls" });
  result = el("div", { class: "probed", hidden: true, "aria-live": "polite" });
  live = el("output", { class: "probe-live", hidden: true });
  seen = el("img", { class: "probe-seen", alt: "" });
  answers = el("ol", { class: "probe-answers" });
  section = el("section", { class: "probe" }, el("h2", { t: "probe.title" }), hint, controls, result);
  root.append(section);
  document.getElementById("stage-view").append(live);
  brush.mountBrush();
  brush.onPainted(painted);
  buildControls();
  on(["photos", "photo", "language"], showFills);
  on(["brush", "view.tool", "network"], showControls);
  on(["target", "network", "texts"], later);
  on(["language"], showResult);
  on(["view.tool"], () => get().view.tool === "brush" && openPanel("probe"));
}

function painted(now) {
  raster = now;
  if (!raster || isBlank(raster)) {
    stop();
    shown = null;
    showResult();
  } else {
    later();
  }
  showButtons();
}

function stop() {
  clearTimeout(timer);
  timer = 0;
  asking?.abort();
  asking = null;
  isStale = false;
  showBusy();
}

/** Let assistive technology wait with what changes until the last answer is there. */
function showBusy() {
  section.setAttribute("aria-busy", String(Boolean(timer || asking)));
}

/** Ask soon: while a request is on its way, once more when it is answered. */
function later() {
  if (!raster || isBlank(raster) || answersInWords()) return;
  if (asking) isStale = true;
  else if (!timer) timer = setTimeout(read, PAUSE);
  showBusy();
}

async function read() {
  const abort = (asking = new AbortController());
  timer = 0;
  try {
    const probed = await asked(abort.signal);
    if (asking === abort) {
      shown = probed;
      showResult();
    }
  } catch (error) {
    if (!isStopped(error)) tellError(error);
  }
  if (asking !== abort) return;
  asking = null;
  if (isStale) {
    isStale = false;
    later();
  }
  showBusy();
}

async function asked(signal) {
  const { fill, other } = get().brush;
  const { network, target, texts } = mapRequest();
  const from = fill === "photo" ? get().photos.find(({ id }) => id === other) : null;
  const body = () => ({
    network,
    target,
    texts,
    fill,
    other: from?.id,
    strokes: packed(raster),
    raster: [raster.rows, raster.columns],
    replaces: "probe",
  });
  try {
    return await ask("probe", body(), { signal });
  } catch (error) {
    if (error.code !== "no-such-photo" || !from) throw error;
    await sendAgain(from);
    set({ brush: { ...get().brush, other: from.id } });
    return ask("probe", body(), { signal });
  }
}

function change(changes) {
  set({ brush: { ...get().brush, ...changes } });
}

function buildControls() {
  const mode = (erase) => el("button", {
    type: "button", id: `probe-${erase ? "erase" : "paint"}`, t: erase ? "probe.erase" : "probe.paint",
    onclick: () => {
      change({ erase });
      setView({ tool: "brush" });
    },
  });
  const size = el("input", {
    type: "range", id: "probe-size", min: brush.SIZES[0], max: brush.SIZES[1], step: "any",
    oninput: ({ target }) => change({ size: Number(target.value) }),
  });
  const fill = el("select", { id: "probe-fill", onchange: ({ target }) => changeFill(target.value) });
  controls.append(
    el("div", { class: "choice", role: "group", tLabel: "probe.modes" }, mode(false), mode(true)),
    el("button", { type: "button", id: "probe-undo", t: "probe.undo", onclick: brush.undo }),
    el("button", { type: "button", id: "probe-clear", t: "probe.clear", onclick: brush.clear }),
    el("label", { class: "control" }, el("span", { t: "probe.size" }), size),
    el("label", { class: "control" }, el("span", { t: "probe.fill" }), fill)
  );
  showFills();
}

/** Offer what can be painted with: also each other photo of the tray. */
function showFills() {
  const { photos, photo } = get();
  const others = photos.filter((each) => each !== photo);
  document.getElementById("probe-fill").replaceChildren(
    el("option", { value: "blurred", t: "probe.blurred" }),
    el("option", { value: "grey", t: "probe.grey" }),
    ...others.map(({ id, name }) => el("option", { value: `photo:${id}` }, t("probe.photo", { name })))
  );
  showControls();
}

function showControls() {
  const { brush: now, photo, view } = get();
  const isOn = view.tool === "brush";
  hint.textContent = t(isOn ? "probe.hint" : "probe.invitation");
  controls.hidden = !photo;
  for (const [id, erase] of [["probe-paint", false], ["probe-erase", true]]) {
    document.getElementById(id).setAttribute("aria-pressed", String(isOn && Boolean(now.erase) === erase));
  }
  document.getElementById("probe-size").value = now.size;
  const fill = document.getElementById("probe-fill");
  fill.value = now.fill === "photo" ? `photo:${now.other}` : now.fill;
  if (!fill.value) changeFill("blurred"); // that photo is not in the tray any more
  showButtons();
}

function changeFill(value) {
  const [fill, other = null] = value.split(/:(.*)/s);
  change({ fill, other });
  later();
}

function showButtons() {
  document.getElementById("probe-undo").disabled = !brush.canUndo();
  document.getElementById("probe-clear").disabled = !raster || isBlank(raster);
}

function showResult() {
  result.hidden = live.hidden = shown === null;
  if (!shown) {
    answers.replaceChildren();
    return;
  }
  const { before, after, label, share, picture } = shown;
  const probable = Math.max(before.probability ?? 0, after.probability ?? 0) >= LEAST_PROBABILITY;
  const [from, to] = [before, after].map(({ score, probability }) => (probable ? probability : score));
  const say = (value) => (probable ? percent(value) : short(value));
  const values = { label, from: say(from), to: say(to), share: percent(share) };
  live.textContent = t("probe.live", values);
  seen.src = `data:image/webp;base64,${picture}`;
  seen.alt = t("probe.seen");
  const what = t(probable ? "probe.probability" : "probe.score");
  result.replaceChildren(
    el("p", { class: "said" }, t(`probe.${direction(from, to, share)}`, { ...values, what })),
    el("div", { class: "bars" }, ...bar("probe.before", from, [from, to], say), ...bar("probe.after", to, [from, to], say)),
    el(
      "div",
      { class: "probe-sides" },
      el("div", {}, el("h3", { t: shown.measure === "score" ? "probe.outputs" : "probe.answers" }), answers),
      el("figure", {}, seen, el("figcaption", { class: "note" }, t("probe.seen-share", values)))
    )
  );
  showAnswers(shown);
}

/** Return which sentence says what became of the score. */
function direction(from, to, share) {
  if (share === 0) return "unseen";
  const moved = to - from;
  if (Math.abs(moved) < LITTLE * Math.max(Math.abs(from), Math.abs(to))) return "stays";
  return moved < 0 ? "falls" : "rises";
}

/** Return name, bar and number of a value; bars begin at 0, to the left for what is below it. */
function bar(key, value, all, say) {
  const lowest = Math.min(0, ...all);
  const highest = Math.max(0, ...all) - lowest || 1;
  const fill = el("i", { class: key === "probe.after" ? "now" : "" });
  fill.style.left = `${(100 * (Math.min(value, 0) - lowest)) / highest}%`;
  fill.style.width = `${(100 * Math.abs(value)) / highest}%`;
  return [el("span", { t: key }), el("span", { class: "track" }, fill), el("b", {}, say(value))];
}

/** Let each answer move to its new place; the mark on its bar is where it was. */
function showAnswers({ moved, measure }) {
  const of = measure === "score" ? short : percent;
  const most = measure === "score" ? Math.max(...moved.flatMap((row) => [row.before, row.after]), 1e-9) : 1;
  const kept = new Map([...answers.children].map((row) => [row.dataset.index, row]));
  for (const [place, { index, name, before, after }] of moved.entries()) {
    const row = kept.get(String(index)) ?? newRow(index, moved.length);
    kept.delete(String(index));
    row.style.transform = `translateY(${place * ROW}px)`;
    row.querySelector(".name").textContent = name;
    row.querySelector(".fill").style.width = `${100 * Math.max(after / most, 0)}%`;
    row.querySelector(".mark").style.left = `${100 * Math.min(Math.max(before / most, 0), 1)}%`;
    row.querySelector("b").textContent = of(after);
    row.title = t("probe.moved", { from: of(before), to: of(after) });
  }
  for (const gone of kept.values()) gone.remove();
  answers.style.height = `${moved.length * ROW}px`;
}

function newRow(index, place) {
  const row = el(
    "li",
    { data: { index } },
    el("i", { class: "fill" }),
    el("i", { class: "mark" }),
    el("span", { class: "name" }),
    el("b")
  );
  row.style.transform = `translateY(${place * ROW}px)`;
  answers.append(row);
  return row;
}
