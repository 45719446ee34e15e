/** The texts that a network of pictures and texts compares the photo with, one in each line. */

import { el } from "./dom.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";

/** The most texts, and the most letters of one, that the server takes. */
const MOST = 64;
const LONGEST = 300;

let section, field, told, own;
let known = null; // the name of the network whose texts are in the field

/** Draw the field in a root. */
export function mount(root) {
  field = el("textarea", { id: "texts", rows: "4", spellcheck: "false", tPlaceholder: "prompts.example" });
  told = el("p", { class: "note", role: "status" });
  own = el("button", { type: "button", class: "quiet", t: "prompts.own", onclick: () => compare([]) });
  const act = el("button", { type: "submit", class: "primary", t: "prompts.compare" });
  section = el(
    "form",
    { class: "prompts", hidden: true },
    el("label", { for: "texts", t: "prompts.label" }),
    field,
    el("div", { class: "acts" }, act, own),
    told
  );
  section.addEventListener("submit", (event) => {
    event.preventDefault();
    compare(written());
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) section.requestSubmit();
  });
  root.querySelector(".combobox").before(section);
  on(["network", "texts", "language"], show);
  show();
}

/** Return the texts in the field, each once. */
function written() {
  const lines = field.value.split("\n").map((line) => line.trim().slice(0, LONGEST));
  return [...new Set(lines.filter(Boolean))];
}

/** Compare photos with these texts; with none, with those that the network came with. */
function compare(texts) {
  const { network } = get();
  if (texts.length > MOST) {
    told.textContent = t("prompts.too-many", { given: texts.length, most: MOST });
    return;
  }
  const came = network.came ?? network.classes;
  const classes = texts.length ? texts : came;
  set({ texts, network: { ...network, came, classes }, target: {}, second: null });
  field.value = classes.join("\n");
}

function show() {
  const { network, texts } = get();
  section.hidden = !network?.takes_texts;
  section.parentElement.classList.toggle("has-texts", !section.hidden);
  if (section.hidden) return;
  if (known !== network.name) {
    known = network.name;
    field.value = network.classes.join("\n");
  }
  own.hidden = !texts.length;
  told.textContent = t("prompts.note");
}
