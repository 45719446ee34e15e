/** The words of the page: `t("view.opacity")`, and elements that name their words. */

import { get, speak } from "./api.js";

let texts = {};

/** Load the words of a language, "" for that of the browser; return the language. */
export async function loadTexts(language = "") {
  speak(language);
  const loaded = await get("api/texts");
  texts = loaded.texts;
  speak(loaded.language);
  document.documentElement.lang = loaded.language === "zh" ? "zh-CN" : loaded.language;
  return loaded.language;
}

/** Return the text of a key, with the {names} in it filled in; the key itself if there is none. */
export function t(key, values = {}) {
  const text = find(key);
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Return the text of a key, or another text where there is none. */
export function tOr(key, otherwise) {
  return find(key) ?? otherwise;
}

/** Write the words of all elements below a root that name them. */
export function translate(root) {
  for (const [name, write] of WRITERS) {
    for (const element of root.querySelectorAll(`[${name}]`)) {
      write(element, t(element.getAttribute(name)));
    }
  }
}

/** Which attribute names the words of what. */
const WRITERS = [
  ["data-t", (element, text) => (element.textContent = text)],
  ["data-t-label", (element, text) => element.setAttribute("aria-label", text)],
  ["data-t-title", (element, text) => (element.title = text)],
  ["data-t-placeholder", (element, text) => (element.placeholder = text)],
];

function find(key) {
  let text = texts;
  for (const part of key.split(".")) text = text?.[part];
  return typeof text === "string" ? text : undefined;
}
