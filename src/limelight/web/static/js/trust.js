/** Trust: whether the map shows something, a quick check of it, and what to do about a blank one. */

import { isStopped } from "./api.js";
import { el, percent, short } from "./dom.js";
import { mountFaithfulness } from "./faithfulness.js";
import { sentence } from "./notices.js";
import { answersInWords, ask } from "./requests.js";
import { stepButton, stepsFor } from "./steps.js";
import { get, on } from "./store.js";
import { t } from "./texts.js";

/** How long nothing has to change before the map is checked, in milliseconds: other maps go first. */
const PAUSE = 350;

let status, quick, steps;
let timer = 0;
let asking = null;
let checked = null;
let problem = "";

/** Draw the panel in a root. */
export function mount(root) {
  status = el("div", { class: "trust-status" });
  steps = el("div", { class: "trust-steps" });
  quick = el("div", { class: "trust-check", "aria-live": "polite" });
  root.append(
    el("section", {}, el("h2", { t: "trust.status" }), status, steps),
    el("section", {}, el("h2", { t: "trust.check" }), quick)
  );
  mountFaithfulness(root);
  on(["main", "mainError", "photo", "language"], showStatus);
  on(["main"], later);
  on(["language"], showCheck);
  showStatus();
  showCheck();
}

function later() {
  clearTimeout(timer);
  asking?.abort();
  checked = null;
  problem = "";
  showCheck();
  steps.replaceChildren();
  const { main } = get();
  if (!main || answersInWords()) return;
  if (main.status.name !== "ok") findSteps(main);
  else timer = setTimeout(check, PAUSE);
}

async function check() {
  const { main } = get();
  const abort = (asking = new AbortController());
  try {
    const answer = await ask("check", { ...main.request, replaces: "check" }, { signal: abort.signal });
    if (!abort.signal.aborted) checked = answer;
  } catch (error) {
    if (isStopped(error)) return;
    problem = sentence(error);
  }
  showCheck();
}

function showStatus() {
  const { main, mainError, photo } = get();
  if (!photo) return status.replaceChildren(el("p", { class: "note" }, t("trust.no-photo")));
  if (mainError) return status.replaceChildren(state("error", t("trust.no-map"), mainError.text));
  if (!main) return status.replaceChildren(el("p", { class: "note" }, t("trust.waiting")));
  const name = main.status.name;
  const heading = t(name === "ok" ? "trust.ok" : `view.status-${name}`);
  status.replaceChildren(state(name === "ok" ? "ok" : "blank", heading, main.status.message || t("trust.ok-means")));
}

function state(kind, heading, text) {
  return el("div", { class: `state ${kind}` }, el("strong", {}, heading), el("p", {}, text));
}

/** Offer what can be done about a blank map. */
async function findSteps(main) {
  steps.replaceChildren(el("h3", { t: "trust.blank" }), el("p", { class: "note" }, t("trust.trying")));
  try {
    const shown = await stepsFor(main);
    if (get().main !== main) return;
    const found = shown.length
      ? el("ul", {}, ...shown.map((step) => el("li", {}, stepButton(step))))
      : el("p", { class: "note" }, t("trust.no-steps"));
    steps.replaceChildren(el("h3", { t: "trust.blank" }), found);
  } catch (error) {
    if (get().main === main && !isStopped(error)) {
      steps.replaceChildren(el("p", { class: "note" }, sentence(error)));
    }
  }
}

function showCheck() {
  const { main } = get();
  if (!checked || checked.own === null) {
    const isBlank = !main || main.status.name !== "ok";
    const key = isBlank ? "trust.nothing-to-check" : "trust.checking";
    quick.replaceChildren(el("p", { class: "note" }, problem || t(key)));
    return;
  }
  const { before, own, chance, centre, share, measured, label, verdict } = checked;
  const say = measured === "probability" ? percent : short;
  const lowest = Math.min(0, before, own, centre, chance.lowest);
  const highest = Math.max(0, before, own, centre, chance.highest);
  const place = (value) => (100 * (value - lowest)) / (highest - lowest || 1);
  const row = (key, value, range = null, kind = "") => {
    const fill = el("i", { class: `fill ${kind}` });
    fill.style.left = `${Math.min(place(value), place(0))}%`;
    fill.style.width = `${Math.abs(place(value) - place(0))}%`;
    const whole = el("i", { class: "whole" });
    whole.style.left = `${place(before)}%`;
    const track = el("span", { class: "track" }, fill, whole);
    if (range) {
      const span = el("i", { class: "range" });
      span.style.left = `${place(range[0])}%`;
      span.style.width = `${place(range[1]) - place(range[0])}%`;
      track.append(span);
    }
    return [el("span", {}, t(key, { count: chance.count })), track, el("b", {}, say(value))];
  };
  const values = {
    label, share: `${Math.round(100 * share)}%`, before: say(before), own: say(own), centre: say(centre),
    chance: say(chance.mean), lowest: say(chance.lowest), highest: say(chance.highest),
    count: chance.count, odds: chance.count + 1,
    what: t(measured === "probability" ? "probe.probability" : "probe.score"),
  };
  quick.replaceChildren(
    el("p", { class: "note" }, t("trust.check-means", values)),
    el(
      "div",
      { class: "bars" },
      ...row("trust.own", own, null, "now"),
      ...row("trust.chance", chance.mean, [chance.lowest, chance.highest]),
      ...row("trust.centre", centre)
    ),
    el("p", { class: `said verdict-${verdict}` }, t(`trust.${verdict}`, values)),
    el("p", { class: "note" }, t("trust.one-photo", values))
  );
}
