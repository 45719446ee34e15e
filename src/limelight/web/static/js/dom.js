/** Makes elements. */

import { t } from "./texts.js";

/** Properties that say which words an element shows, and the attributes that keep them. */
const WORDS = { t: "data-t", tLabel: "data-t-label", tTitle: "data-t-title", tPlaceholder: "data-t-placeholder" };

/**
 * Return a new element.
 *
 * @param {string} tag its tag
 * @param {object} props `class`; `onclick` and other listeners; `data: {name: value}`; `t`, `tLabel`,
 *   `tTitle`, `tPlaceholder` for keys of texts; other attributes. false, null and undefined leave
 *   one out.
 * @param {...(Node|string|null)} children what is in it
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in WORDS) element.setAttribute(WORDS[name], value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  if (props.t) element.textContent = t(props.t);
  if (props.tLabel) element.setAttribute("aria-label", t(props.tLabel));
  if (props.tTitle) element.title = t(props.tTitle);
  if (props.tPlaceholder) element.placeholder = t(props.tPlaceholder);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return whether a pointer was moved itself, rather than the page under it, as when it is scrolled. */
export function isMoved(event) {
  return event.pointerType !== "mouse" || event.movementX !== 0 || event.movementY !== 0;
}

/** Return a number as a share, such as "12.3%". */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0 && share < 0.001) return "<0.1%";
  return `${(100 * share).toFixed(share >= 0.9995 || share === 0 ? 0 : 1)}%`;
}

/** Return a number with a few digits, such as "12.34" or "1.2e-7", with a true minus sign. */
export function short(number, digits = 3) {
  if (number === null || number === undefined) return "–";
  const size = Math.abs(number);
  const text = number === 0 || (size >= 1e-3 && size < 1e5)
    ? Number(number.toPrecision(digits + (size >= 1 ? 1 : 0))).toString()
    : number.toExponential(1);
  return text.replace(/^-/, "−");
}
