/** A question about the photo, and the answer word by word: each word has its map on the stage. */

import * as api from "./api.js";
import { el, percent, short } from "./dom.js";
import { decodeMap, valueAt } from "./heat.js";
import { sentence } from "./notices.js";
import { answersInWords, askLines } from "./requests.js";
import { get, on, set } from "./store.js";
import { openPanel } from "./tabs.js";
import { t } from "./texts.js";

/** The longer side of the maps of words, in pixels. */
const LARGE = 320;

/** From this heat on a word looks at the place of the crosshair. */
const LOOKS = 0.5;

let section, question, own, act, words, facts, failed, page;
let answer = null; // what the model answered, its maps decoded
let shown = -1; // the number of the word whose map is on the stage
let abort = null;

/** Draw the question and the answer in a root. */
export function mount(root) {
  question = el("input", { id: "question", type: "text", maxlength: "2000" });
  own = el("input", { id: "own-answer", type: "text", maxlength: "2000", tPlaceholder: "words.own-example" });
  act = el("button", { type: "submit", class: "primary" });
  words = el("div", { class: "words", role: "group", tLabel: "words.answer" });
  facts = el("div", { class: "word-facts", role: "status" });
  failed = el("p", { class: "failed", role: "alert" });
  page = el("a", { class: "page", target: "_blank", rel: "noopener", hidden: true, t: "words.page" });
  section = el(
    "form",
    { class: "asking", hidden: true },
    el("h2", { t: "words.heading" }),
    el("label", { for: "question" }),
    question,
    el("details", {}, el("summary", { t: "words.own" }), el("label", { for: "own-answer", t: "words.own-label" }), own),
    el("div", { class: "acts" }, act),
    failed,
    words,
    facts,
    page
  );
  section.addEventListener("submit", (event) => {
    event.preventDefault();
    if (abort) abort.abort();
    else ask();
  });
  words.addEventListener("keydown", moveAmong);
  root.append(section);
  on(["network", "language"], showForm);
  on(["photo", "network"], forget);
  // A wide panel would hide the question, and is itself hidden.
  on(["network"], () => answersInWords() && openPanel("probe"));
  on(["view.at", "view.signed", "language"], showPlace);
  showForm();
}

function showForm() {
  const { network } = get();
  section.hidden = !answersInWords();
  document.body.classList.toggle("asks", answersInWords());
  if (!answersInWords()) return;
  const kind = network.takes_questions ? "question" : "beginning";
  section.querySelector("label").textContent = t(`words.${kind}`);
  question.placeholder = t(`words.${kind}-example`);
  act.textContent = t(abort ? "words.stop" : "words.ask");
  if (answer) show();
}

function forget() {
  abort?.abort();
  answer = null;
  shown = -1;
  failed.textContent = "";
  words.replaceChildren();
  facts.replaceChildren();
  page.hidden = true;
}

async function ask() {
  const { network, photo } = get();
  if (!photo) return;
  forget();
  const mine = (abort = new AbortController());
  const { signal } = mine;
  set({ busy: get().busy + 1, progress: null, main: null });
  showForm();
  const body = { network: network.name, question: question.value, longest: LARGE, answer: own.value.trim() || null };
  try {
    await askLines("ask", body, (line) => {
      if (line.progress?.total) set({ progress: line.progress });
      else if (line.words && !signal.aborted) take(line, network);
    }, { signal });
  } catch (error) {
    if (!api.isStopped(error)) failed.textContent = sentence(error);
  } finally {
    if (abort === mine) abort = null;
    set({ busy: get().busy - 1, progress: null });
    showForm();
  }
}

/** Keep an answer, and show the map of the word that gains most by the picture. */
function take(line, network) {
  const request = { network: network.name, target: {} };
  answer = {
    ...line,
    words: line.words.map((word) => ({ ...word, map: word.map && decodeMap(word.map, line.box, request) })),
  };
  const gain = ({ map, probability, without_picture: without }) =>
    map?.status.name === "ok" ? Math.log(probability / (without || probability)) : -Infinity;
  const gains = answer.words.map(gain);
  choose(gains.indexOf(Math.max(...gains)));
}

/** Show the map of a word. */
function choose(number) {
  shown = number;
  set({ main: answer.words[number]?.map ?? null, mainError: null });
  show();
}

function show() {
  const held = [...words.querySelectorAll("button")].indexOf(document.activeElement);
  words.replaceChildren(...answer.words.flatMap((word, number) => [between(word), chip(word, number)].filter(Boolean)));
  if (held >= 0) words.querySelectorAll("button")[held]?.focus({ preventScroll: true });
  page.href = answer.document;
  page.hidden = !answer.document;
  showFacts();
  showPlace();
}

/** What stands between two words, but for a space; null for nothing. */
function between({ before }) {
  const text = before.replace(/[^\S\n]/g, "");
  return text ? el("span", { class: "between" }, text) : null;
}

function chip(word, number) {
  const bar = el("i", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${100 * word.probability}%`;
  const needs = word.undecided ? "undecided" : word.needs_picture === false ? "prior" : "needs";
  return el(
    "button",
    {
      type: "button", class: `word ${needs}`, "aria-pressed": String(number === shown), dir: "auto",
      disabled: !word.map, tabindex: number === Math.max(shown, 0) ? "0" : "-1", onclick: () => choose(number),
    },
    el("span", { class: "text" }, word.text),
    el("span", { class: "here" }),
    bar
  );
}

/** Arrows go from word to word, and show the map of each. */
function moveAmong(event) {
  const all = [...words.querySelectorAll("button")];
  const now = all.indexOf(document.activeElement);
  const steps = { ArrowRight: now + 1, ArrowLeft: now - 1, ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: all.length - 1 };
  if (now < 0 || !(event.key in steps)) return;
  event.preventDefault();
  const next = Math.min(Math.max(steps[event.key], 0), all.length - 1);
  if (!all[next].disabled) choose(next);
  words.querySelectorAll("button")[next].focus();
}

/** Tell how probable the word is, with the picture and without, and whether it needed it. */
function showFacts() {
  const word = answer.words[shown];
  if (!word) return facts.replaceChildren();
  const rows = [["words.word", word.text], ["words.with", percent(word.probability)]];
  if (word.without_picture !== null) rows.push(["words.without", percent(word.without_picture)]);
  const needs = word.undecided ? "undecided" : word.needs_picture === false ? "prior" : "needs";
  const listed = rows.map(([key, value]) => el("div", {}, el("dt", {}, t(key)), el("dd", { dir: "auto" }, value)));
  facts.replaceChildren(
    el("dl", {}, ...listed),
    el("p", { class: "note" }, word.without_picture === null ? "" : t(`words.${needs}`))
  );
}

/** Write at each word how hot its map is at the crosshair; light up those that look there. */
function showPlace() {
  const { view: { at, signed } } = get();
  [...words.querySelectorAll("button")].forEach((button, number) => {
    const { map } = answer?.words[number] ?? {};
    const here = at && map ? valueAt(map, at) : null;
    button.querySelector(".here").textContent = here ? (signed ? short(here.signed, 2) : here.heat.toFixed(2)) : "";
    button.classList.toggle("looks", Boolean(here) && map.status.name === "ok" && here.heat >= LOOKS);
  });
}
