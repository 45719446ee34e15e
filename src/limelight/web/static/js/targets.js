/** What is explained: a class, why it rather than another one, or what speaks against it. */

import { combobox } from "./combobox.js";
import { el, percent, short } from "./dom.js";
import { heatInside } from "./heat.js";
import { className, placeOf } from "./requests.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";

const QUESTIONS = ["why", "rather", "against"];

let first, second, secondBlock, chips, secondChips, score, region, questions, random;

/** Draw the choice of the target in a root. */
export function mount(root) {
  const classes = () => get().network?.classes ?? [];
  first = combobox({ t: "target.class", id: "class", classes, named, onChoose: explain });
  second = combobox({ t: "target.second", id: "second-class", classes, named, onChoose: contrast });
  questions = el("div", { class: "choice", role: "group", tLabel: "target.question" });
  for (const name of QUESTIONS) {
    const props = { type: "button", t: `target.${name}`, tTitle: `target.${name}-hint` };
    questions.append(el("button", { ...props, data: { question: name }, onclick: () => ask(name) }));
  }
  chips = el("ol", { id: "answers", class: "chips", tLabel: "target.answers" });
  secondChips = el("ol", { class: "chips", tLabel: "target.answers-second" });
  secondBlock = el("div", { class: "second", hidden: true }, second.element, secondChips);
  score = el("p", { class: "score", tTitle: "target.score-hint" });
  region = el("p", { class: "region", role: "status" });
  random = el("p", { class: "random", role: "note", hidden: true, t: "target.random" });
  root.append(el("h2", { t: "target.heading" }), random, first.element, chips, el("div", { class: "questions" }, el("span", { t: "target.question" }), questions), secondBlock, score, region);
  on(["look", "target", "second", "main", "network", "view.compare", "language"], show);
  on(["main", "region", "look", "language"], showRegion);
  on(["region", "look"], takeRegion);
  show();
}

/** Return what a map explains, in words: a class, or a difference of two. */
export function sentenceOf(map) {
  const { target, network } = map.request;
  if (network !== get().network.name) return map.label; // its classes are numbered otherwise
  const one = named(target.class ?? map.index) ?? map.label;
  if (target.box && target.against === undefined && !target.counterfactual) {
    return t("target.said-inside", { one });
  }
  if (target.against !== undefined) return t("target.said-rather", { one, other: named(target.against) });
  return target.counterfactual ? t("target.said-against", { one }) : (one ?? "");
}

function named(index) {
  const name = className(get().network, index);
  return name ?? (index === undefined || index === null ? null : String(index));
}

/** Which class is explained: the one that was chosen, or the predicted one. */
function shown() {
  const { target, main, look } = get();
  return target.class ?? main?.index ?? look?.answers[0]?.index ?? null;
}

function explain(index) {
  const { target } = get();
  const kept = target.against !== undefined && target.against !== index ? { against: target.against } : {};
  set({ target: { ...placeOf(target), class: index, ...kept, ...(target.counterfactual ? { counterfactual: true } : {}) } });
}

function contrast(index) {
  const changes = { second: { class: index } };
  if (get().target.against !== undefined) changes.target = { ...get().target, against: index };
  set(changes);
}

function ask(question) {
  const { target } = get();
  const base = { ...placeOf(target), ...(target.class === undefined ? {} : { class: target.class }) };
  if (question === "rather") {
    const against = otherClass();
    set({ target: { ...base, class: shown(), against }, second: { class: against } });
  } else {
    set({ target: question === "against" ? { ...base, counterfactual: true } : base });
  }
}

/** Return the class that was compared with last, or the most probable other one. */
function otherClass() {
  const { second: chosen, look } = get();
  if (chosen && chosen.class !== shown()) return chosen.class;
  return look?.answers.find(({ index }) => index !== shown())?.index ?? 0;
}

function show() {
  const { look, target, second: chosen, main, view, network } = get();
  const question = target.against !== undefined ? "rather" : target.counterfactual ? "against" : "why";
  for (const button of questions.children) {
    button.setAttribute("aria-pressed", String(button.dataset.question === question));
    button.disabled = !look;
  }
  random.hidden = network?.weights !== "random";
  secondBlock.hidden = question !== "rather" && view.compare !== "class";
  if (!secondBlock.hidden && look && !chosen) set({ second: { class: otherClass() } });
  first.show(shown());
  second.show(chosen?.class ?? null);
  fill(chips, shown(), explain);
  fill(secondChips, chosen?.class ?? null, contrast);
  score.textContent = main ? t("target.score", { what: sentenceOf(main), score: short(main.score, 4) }) : "";
}

/** Fill a list with the first answers as buttons. */
function fill(list, chosen, act) {
  const { look } = get();
  list.classList.toggle("waiting", !look);
  const answers = look?.answers ?? Array.from({ length: 5 }, () => null);
  const held = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...answers.map((answer) => el("li", {}, answer ? chip(answer, chosen, act) : null)));
  if (held >= 0) list.querySelectorAll("button")[held]?.focus();
}

function chip({ index, name, probability, score: raw }, chosen, act) {
  const bar = el("i", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${100 * (probability ?? 0)}%`;
  return el(
    "button",
    { type: "button", class: "chip", "aria-pressed": String(index === chosen), data: { index }, onclick: () => act(index) },
    bar,
    el("span", { class: "name" }, name),
    el("span", { class: "probability" }, probability === null ? short(raw) : percent(probability))
  );
}

/** A network that answers for places explains the class in the box that was drawn. */
function takeRegion() {
  const { look, region, target } = get();
  if (!look || look.kind === "classifier" || (target.box ?? null) === region) return;
  const { box: _, pixel, ...rest } = target;
  set({ target: region ? { ...rest, box: region } : { ...rest, ...placeOf({ pixel }) } });
}

/** A network that answers for the whole photo says how much of the heat lies in the box. */
function showRegion() {
  const { look, main, region: box, photo } = get();
  region.textContent = "";
  if (!box || !look || !main || look.kind !== "classifier") return;
  const share = heatInside(main, box);
  const area = ((box[2] - box[0]) * (box[3] - box[1])) / (photo.width * photo.height);
  region.textContent = share === null
    ? t("target.no-heat")
    : t("target.region", { share: percent(share), area: percent(area) });
}
