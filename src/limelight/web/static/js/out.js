/** Takes away what is shown: a file of the map, with a look at it before, or the lines that make it. */

import { isStopped } from "./api.js";
import { el } from "./dom.js";
import { sentence, tellError } from "./notices.js";
import { ask, askFile, mapRequest } from "./requests.js";
import { get, on, setView } from "./store.js";
import { onPanel } from "./tabs.js";
import { t } from "./texts.js";

const KINDS = ["picture", "arrays", "table", "regions", "page"];
const PICTURES = ["overlay", "heatmap", "figure", "signed", "blend", "article"];
const SUFFIXES = ["png", "jpg", "webp", "pdf", "svg"];
const REGIONS = ["coco", "yolo", "yolo-polygons", "masks", "numbered-masks", "pictures"];

/** The threshold of regions while none is shown, as when it is turned on. */
const FIRST_THRESHOLD = 0.5;

/** How long nothing has to change before a look is made, in milliseconds. */
const PAUSE = 250;

const chosen = { kind: "picture", picture: "overlay", suffix: "png", regions: "coco", whole: true, beside: true };

let kinds, about, options, look, save, told, lines, content, nothing;
let open = false;
let timer = 0;
let abort = null;
let address = null; // of the file that is looked at

/** Draw the panel in a root. */
export function mount(root) {
  kinds = el("div", { class: "choice kinds", role: "group", tLabel: "out.what" }, ...KINDS.map(kindButton));
  about = el("p", { class: "note" });
  options = el("div", { class: "out-options" });
  look = el("div", { class: "out-look", role: "group", tabindex: "0", tLabel: "out.preview" });
  save = el("button", { type: "button", class: "primary", id: "save", t: "out.save", onclick: saveFile });
  told = el("p", { class: "note", role: "status" });
  lines = el("div", { class: "out-lines" });
  nothing = el("p", { class: "note", t: "out.nothing" });
  content = el("div", { class: "out" }, kinds, about, options, look, el("div", { class: "out-save" }, save, told), lines);
  root.append(nothing, content);
  onPanel((name) => {
    open = name === "out";
    if (open) renew(0);
  });
  const shown = ["view.colormap", "view.signedColormap", "view.signed", "view.threshold"];
  on(["photo", "main", "network", "texts", "language", ...shown], () => open && renew(PAUSE));
  on(["others"], () => open && chosen.kind === "page" && renew(PAUSE));
  on(["language"], drawOptions);
  on(["main", "view.threshold"], drawOptions);
  drawOptions();
}

function kindButton(name) {
  return el("button", { type: "button", data: { kind: name }, t: `out.${name}`, onclick: () => choose({ kind: name }) });
}

function choose(changes) {
  Object.assign(chosen, changes);
  told.textContent = "";
  drawOptions();
  renew(0);
}

/** Return what is asked for, as the server takes it. */
function request(overrides = {}) {
  const { view, page } = get();
  const signed = chosen.kind === "page" ? view.signed : chosen.picture === "signed";
  const first = (names) => Object.keys(names)[0];
  const colormap = signed
    ? (view.signedColormap ?? first(page.colormaps.signed))
    : (view.colormap ?? first(page.colormaps.heat));
  const { kind, suffix, regions, whole } = chosen;
  const picture = kind === "page" ? (view.signed ? "signed" : "overlay") : chosen.picture;
  const asked = { kind, picture, suffix, regions, whole, colormap, threshold: threshold() };
  const beside = kind === "page" && chosen.beside ? strips() : [];
  return { ...mapRequest(), ...asked, beside, ...overrides };
}

function threshold() {
  return Math.max(get().view.threshold ?? FIRST_THRESHOLD, 0.01);
}

/** Return the requests of the maps in the strips, but for the one that is shown. */
function strips() {
  const { main, others } = get();
  return Object.entries(others)
    .filter(([key, map]) => key !== "compare" && map?.heat && !isSame(map, main))
    .map(([, map]) => map.request)
    .slice(0, 64);
}

function isSame(map, main) {
  return main && map.method === main.method && map.layer === main.layer;
}

function drawOptions() {
  for (const button of kinds.children) {
    button.setAttribute("aria-pressed", String(button.dataset.kind === chosen.kind));
  }
  about.textContent = t(`out.${chosen.kind}-about`);
  const rows = {
    picture: () => [choice("picture", PICTURES, (name) => t(`out.${name}`)), choice("suffix", SUFFIXES), extent()],
    arrays: () => [extent()],
    table: () => [],
    regions: () => [choice("regions", REGIONS, (name) => t(`out.${name}`)), thresholdSlider()],
    page: () => [besideBox()],
  };
  const focused = options.contains(document.activeElement) ? document.activeElement.id : null;
  options.replaceChildren(...rows[chosen.kind]());
  if (focused) document.getElementById(focused)?.focus();
}

const LABELS = { picture: "out.shows", suffix: "out.format", regions: "out.format" };

function choice(name, values, told = (value) => value) {
  const list = el("select", { id: `out-${name}` }, ...values.map((value) => el("option", { value }, told(value))));
  list.value = chosen[name];
  list.addEventListener("change", () => choose({ [name]: list.value }));
  const isAlone = name === "regions";
  return el("label", { class: isAlone ? "out-option alone" : "out-option" }, el("span", { t: LABELS[name] }), list);
}

function extent() {
  const names = { true: t("out.whole"), false: t("out.crop") };
  const list = el("select", { id: "out-extent" }, ...Object.entries(names).map(([value, text]) => el("option", { value }, text)));
  list.value = String(chosen.whole);
  list.addEventListener("change", () => choose({ whole: list.value === "true" }));
  return el("label", { class: chosen.kind === "arrays" ? "out-option alone" : "out-option" }, el("span", { t: "out.extent" }), list);
}

function thresholdSlider() {
  const slider = el("input", { type: "range", id: "out-threshold", min: "0.01", max: "1", step: "0.01", value: String(threshold()) });
  slider.addEventListener("input", () => setView({ threshold: Number(slider.value) }));
  return el("label", { class: "out-option" }, el("span", { t: "out.threshold" }), slider, el("output", {}, threshold().toFixed(2)));
}

function besideBox() {
  const box = el("input", { type: "checkbox", id: "out-beside" });
  box.checked = chosen.beside;
  box.addEventListener("change", () => choose({ beside: box.checked }));
  return el("label", { class: "check" }, box, el("span", {}, t("out.with-strips", { count: strips().length })));
}

/** Look at the file anew, and at the lines that make it. */
function renew(pause) {
  const { photo, main } = get();
  nothing.hidden = Boolean(photo && main);
  content.hidden = !nothing.hidden;
  clearTimeout(timer);
  abort?.abort();
  if (content.hidden) return;
  look.classList.add("loading");
  timer = setTimeout(lookAndTell, pause);
}

async function lookAndTell() {
  const mine = (abort = new AbortController());
  const { signal } = mine;
  try {
    // One after the other: a look that was overtaken leaves the lines to its successor.
    const shown = await LOOKS[chosen.kind](signal);
    if (signal.aborted) return;
    look.classList.remove("loading");
    look.replaceChildren(...shown);
    const code = await ask("code", request(), { signal });
    if (!signal.aborted) drawLines(code);
  } catch (error) {
    if (isStopped(error) || signal.aborted) return;
    look.classList.remove("loading");
    look.replaceChildren(el("p", { class: "failed" }, sentence(error)));
    lines.replaceChildren();
  }
}

/** What is looked at of each kind of file. */
const LOOKS = { picture: lookAtPicture, arrays: lookAtArrays, table: lookAtTable, regions: lookAtRegions, page: lookAtPage };

async function lookAtPicture(signal) {
  // Browsers show neither PDF nor SVG of any origin here; the same picture as PNG looks the same.
  const overrides = { suffix: ["pdf", "svg"].includes(chosen.suffix) ? "png" : chosen.suffix };
  return picture(request(overrides), signal);
}

async function lookAtRegions(signal) {
  const shown = chosen.regions.includes("masks") ? chosen.regions : "pictures";
  return picture(request({ regions: shown === "numbered-masks" ? "masks" : shown }), signal);
}

async function picture(asked, signal) {
  const { blob } = await askFile("files", { ...asked, replaces: "look" }, { signal });
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(blob);
  return [el("img", { src: address, tLabel: "out.preview", alt: t("out.preview") })];
}

async function lookAtArrays() {
  const { main, look: seen, photo } = get();
  const arrays = [
    ["raw", ["1", ...main.grid]],
    ["heatmap", ["1", ...seen.input]],
    ["score", ["1"]],
    ...(chosen.whole ? ["photo_heatmap_0", "photo_seen_0"].map((name) => [name, [photo.height, photo.width]]) : []),
  ];
  return [table(arrays.map(([name, sizes]) => [name, sizes.join(" × ")]))];
}

async function lookAtTable(signal) {
  const { blob } = await askFile("files", { ...request(), replaces: "look" }, { signal });
  const [names, values] = rowsOf(await blob.text());
  return [table(names.map((name, column) => [name, values[column]]).filter(([, value]) => value))];
}

async function lookAtPage(signal) {
  const { document: at } = await ask("preview", { ...request(), replaces: "look" }, { signal });
  return [el("iframe", { src: at, sandbox: "allow-scripts", title: t("out.page-preview") })];
}

function table(rows) {
  const facts = rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  return el("dl", { class: "out-table" }, ...facts);
}

/** Return the rows of a table in CSV, whose cells may be quoted. */
function rowsOf(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "\r\n") rows.push([]);
    if (end === "") break;
  }
  return rows;
}

async function saveFile() {
  save.disabled = true;
  told.textContent = t("out.making");
  try {
    const { blob, name } = await askFile("files", request());
    const at = URL.createObjectURL(blob);
    el("a", { href: at, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(at), 60_000);
    told.textContent = t("out.saved", { name, size: sizeOf(blob.size) });
  } catch (error) {
    told.textContent = "";
    tellError(error);
  } finally {
    save.disabled = false;
  }
}

function sizeOf(bytes) {
  if (bytes < 1000) return t("out.bytes", { count: bytes });
  if (bytes < 1e6) return t("out.kilobytes", { count: Math.round(bytes / 1000) });
  return t("out.megabytes", { count: (bytes / 1e6).toFixed(1) });
}

function drawLines({ python, command, note }) {
  const { name, sample } = get().photo;
  lines.replaceChildren(
    el("h3", {}, t("out.code")),
    note || !sample ? el("p", { class: "note" }, note || t("out.beside", { photo: name })) : "",
    codeBlock("python", python),
    command === null ? "" : codeBlock("command", command)
  );
}

function codeBlock(name, text) {
  const code = el("code", {}, text);
  const button = el("button", { type: "button", class: "quiet", tLabel: `out.copy-${name}`, data: { copies: name } }, t("out.copy"));
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text)) ? t("out.copied") : t("out.copy");
  });
  return el(
    "figure",
    { class: `out-code ${name}` },
    el("figcaption", {}, t(`out.${name}`), button),
    el("pre", { tabindex: "0", "aria-label": t(`out.${name}`) }, code)
  );
}

/** Copy a text; return whether it worked. A page that is not of this machine may not copy itself. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    told.textContent = t("out.not-copied");
    return false;
  }
}
