/** A field in which a class is searched for: typing filters, arrows move, Enter takes. */

import { el } from "./dom.js";

/** How many classes are listed at a time. */
const MOST = 80;

let count = 0;

/**
 * Return a field to choose a class in.
 *
 * @param {object} options `t`: key of its label; `id`; `classes()`: all names; `named(index)`: how one
 *   is shown, also where classes have no names; `onChoose(index)`
 * @returns {{element: Element, show: (index: number|null) => void}} `show` writes the class that is
 *   chosen
 */
export function combobox({ t, id, classes, named, onChoose }) {
  const listId = `classes-${++count}`;
  const input = el("input", {
    id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false",
    "aria-expanded": "false", "aria-autocomplete": "list", "aria-controls": listId,
    tPlaceholder: "target.search",
  });
  const list = el("ul", { id: listId, role: "listbox", class: "classes", hidden: true, tLabel: t });
  const none = el("p", { class: "classes none", hidden: true, t: "target.none-found" });
  let chosen = null;
  let active = 0;

  const close = () => {
    list.hidden = none.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const write = () => {
    input.value = chosen === null ? "" : named(chosen);
  };
  const choose = (index) => {
    chosen = index;
    write();
    close();
    onChoose(index);
  };
  const mark = (position) => {
    const options = list.children;
    if (!options.length) return;
    options[active]?.setAttribute("aria-selected", "false");
    active = (position + options.length) % options.length;
    options[active].setAttribute("aria-selected", "true");
    options[active].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[active].id);
  };
  const open = (typed) => {
    const found = matches(typed, classes());
    list.replaceChildren(
      ...found.map((index) =>
        el(
          "li",
          { role: "option", id: `${listId}-${index}`, "aria-selected": "false", data: { index } },
          el("span", { class: "index" }, String(index)),
          " ",
          classes()[index] ?? ""
        )
      )
    );
    list.hidden = !found.length;
    none.hidden = Boolean(found.length);
    input.setAttribute("aria-expanded", String(!list.hidden));
    active = 0;
    mark(typed || chosen === null ? 0 : Math.max(found.indexOf(chosen), 0));
    list.scrollIntoView({ block: "nearest" });
  };

  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => list.hidden && open(""));
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("blur", () => {
    close();
    write();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) open("");
      else mark(active + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && !list.hidden) {
      choose(Number(list.children[active].dataset.index));
    } else if (event.key === "Escape") {
      close();
      write();
    } else {
      return;
    }
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  // A finger may scroll the list, and what it taps must still be there when it is lifted.
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) choose(Number(option.dataset.index));
  });

  const element = el(
    "div",
    { class: "combobox" },
    el("label", { for: id, t }),
    el("div", { class: "field" }, input, list, none)
  );
  return {
    element,
    show(index) {
      chosen = index ?? null;
      if (document.activeElement !== input || list.hidden) write();
    },
  };
}

/** Return the indices of the classes that a text finds: of that index, then by the words. */
function matches(typed, names) {
  const text = typed.trim().toLowerCase();
  const number = /^\d+$/.test(text) ? Number(text) : null;
  if (!text) return names.slice(0, MOST).map((_, index) => index);
  const ranked = [];
  names.forEach((name, index) => {
    const at = name.toLowerCase().indexOf(text);
    if (index === number) ranked.push([-1, index]);
    else if (at === 0) ranked.push([0, index]);
    else if (at > 0) ranked.push([/[\s,(-]/.test(name[at - 1]) ? 1 : 2, index]);
    else if (number !== null && String(index).startsWith(text)) ranked.push([3, index]);
  });
  if (number !== null && number >= names.length && !names.length) ranked.push([-1, number]);
  ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  return ranked.slice(0, MOST).map(([, index]) => index);
}
