/** What can be done about a map that shows nothing: steps that the server tried before it says them. */

import { el } from "./dom.js";
import { ask } from "./requests.js";
import { get, set, setView } from "./store.js";
import { t } from "./texts.js";

const asked = new WeakMap(); // by map: the promise of its steps, so that two places ask once

/** Return what can be done about a blank map, as `/instead` answers. */
export function stepsFor(main) {
  if (!asked.has(main)) {
    const found = ask("instead", main.request).then((answer) => answer.steps);
    found.catch(() => asked.delete(main)); // to be tried again
    asked.set(main, found);
  }
  return asked.get(main);
}

/** Return a button that does a step, with a sentence on it, or with a few words. */
export function stepButton(step, { short = false } = {}) {
  const words = short ? t(`view.step-${step.action}`, step) : step.words;
  return el("button", { type: "button", data: { action: step.action }, onclick: () => act(step) }, words);
}

function act({ action, layer, method, index }) {
  if (action === "signed") return setView({ signed: true });
  if (action === "layer") return set({ layer });
  if (action === "class") return set({ target: { class: index } });
  const { place } = get().page.methods.find(({ name }) => name === method);
  return set({ method, ...(place === "layer" ? {} : { layer: null }) });
}
