/** The faithfulness table: metrics of the map, measured on request, with progress and a stop. */

import { get as getJson, isStopped } from "./api.js";
import { el, short } from "./dom.js";
import { sentence } from "./notices.js";
import { answersInWords, askLines } from "./requests.js";
import { get, on } from "./store.js";
import { onPanel } from "./tabs.js";
import { t } from "./texts.js";

/** The families of metrics, in the order in which they are listed. */
const FAMILIES = ["faithfulness", "complexity", "robustness", "sanity"];

let choices, controls, table;
let metrics = []; // what is offered
let chosen = null; // a Set of names
let asking = null;
let progress = null;
let rows = [];
let done = null;
let problem = "";

/** Draw the table's part of the panel in a root. */
export function mountFaithfulness(root) {
  choices = el("details", { class: "metric-choice" });
  controls = el("div", { class: "measure-controls" });
  table = el("div", { class: "faithfulness", "aria-live": "polite" });
  root.append(
    el("section", {}, el("h2", { t: "trust.faithfulness" }), el("p", { class: "note", t: "trust.faithfulness-means" }), choices, controls, table)
  );
  onPanel((name) => name === "trust" && load());
  on(["main"], forget);
  on(["language"], () => {
    metrics = [];
    if (!root.hidden) load();
    show();
  });
  show();
}

async function load() {
  if (metrics.length) return;
  try {
    ({ metrics } = await getJson("api/metrics"));
    chosen ??= new Set(metrics.filter(({ quick }) => quick).map(({ name }) => name));
  } catch (error) {
    problem = sentence(error);
  }
  showChoices();
  show();
}

function forget() {
  asking?.abort();
  asking = progress = done = null;
  rows = [];
  problem = "";
  show();
}

async function measure() {
  const { main } = get();
  forget();
  const abort = (asking = new AbortController());
  progress = { task: "", done: 0, total: 0, number: 0, count: chosen.size };
  show();
  const take = (line) => {
    if (abort.signal.aborted) return;
    if (line.progress) progress = { ...progress, ...line.progress };
    if (line.row) rows = [...rows, line.row];
    if (line.done) done = line.done;
    show();
  };
  const request = { ...main.request, metrics: [...chosen], replaces: "faithfulness" };
  try {
    await askLines("faithfulness", request, take, { signal: abort.signal });
  } catch (error) {
    if (!isStopped(error)) problem = sentence(error);
  }
  if (asking !== abort) return;
  asking = progress = null;
  show();
}

/** Stop measuring; what was measured stays. */
function stop() {
  asking?.abort();
  asking = progress = null;
  show();
}

function showChoices() {
  const families = FAMILIES.map((family) => [family, metrics.filter((each) => each.family === family)]);
  choices.replaceChildren(
    el("summary", {}, t("trust.choose")),
    ...families.filter(([, of]) => of.length).map(([family, of]) =>
      el("fieldset", {}, el("legend", {}, t(`trust.family-${family}`)), ...of.map(choice))
    )
  );
}

function choice({ name, use, formula }) {
  const change = ({ target }) => {
    if (target.checked) chosen.add(name);
    else chosen.delete(name);
    show();
  };
  const box = el("input", { type: "checkbox", value: name, checked: chosen.has(name), onchange: change });
  return el("label", { title: formula }, box, el("span", {}, el("b", {}, name), " ", use));
}

function show() {
  const { main } = get();
  const canMeasure = main?.status.name === "ok" && chosen?.size > 0 && !answersInWords();
  if (progress) {
    const { task, done: runs, total, number, count } = progress;
    const share = (number + (total ? runs / total : 0)) / count;
    const words = task ? t("trust.measuring", { task, number: number + 1, count }) : t("trust.begins");
    const bar = controls.querySelector("progress") ?? el("progress", { max: "1", tLabel: "view.progress" });
    bar.value = share;
    if (!bar.isConnected) {
      const button = el("button", { type: "button", id: "stop-measuring", t: "view.stop", onclick: stop });
      controls.replaceChildren(el("span"), bar, button);
    }
    controls.querySelector("span").textContent = words;
  } else {
    const words = t("trust.measure", { count: chosen?.size ?? 0 });
    const held = document.activeElement?.id === "stop-measuring";
    controls.replaceChildren(el("button", { type: "button", id: "measure", class: "primary", disabled: !canMeasure, onclick: measure }, words));
    if (held) controls.firstChild.focus();
  }
  showTable();
}

function showTable() {
  const parts = [];
  if (problem) parts.push(el("p", { class: "note error" }, problem));
  if (rows.length) parts.push(tableOf(rows));
  if (done) {
    const key = done.judged ? "trust.won" : "trust.none-judged";
    parts.push(el("p", { class: "said" }, t(key, done)), el("p", { class: "note" }, t("trust.in-general")));
  }
  table.replaceChildren(...parts);
}

function tableOf(measured) {
  const head = ["metric", "own-short", "random", "centre-short", "verdict"];
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col", t: `trust.${name}` })))),
    el("tbody", {}, ...measured.map(rowOf))
  );
}

/** Return a number with three places, so that a column can be compared; tiny ones with their power. */
function figure(value) {
  if (value === null || (value !== 0 && Math.abs(value) < 0.0005)) return short(value, 2);
  return value.toFixed(3).replace("-", "−");
}

function rowOf({ metric, better, own, random, centre, verdict, use, why }) {
  const name = el("th", { scope: "row", title: use }, metric, el("span", { class: "better" }, t(`trust.${better}`)));
  if (verdict === "not-measured") return el("tr", {}, name, el("td", { colspan: "4", class: "why" }, why ?? t("trust.not-measured")));
  const numbers = [own, random, centre].map((value) => el("td", { class: "number" }, figure(value)));
  return el("tr", {}, name, ...numbers, el("td", { class: `verdict ${verdict}` }, t(`trust.row-${verdict}`)));
}
