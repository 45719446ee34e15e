/** Photos: chosen, dropped, pasted, taken by the camera, from a folder, or an example; and a tray. */

import * as api from "./api.js";
import { openCamera } from "./camera.js";
import { el } from "./dom.js";
import { sentence, tell, tellError } from "./notices.js";
import { hold, showPhoto } from "./requests.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";

/** How many photos are sent at once; the others of a folder wait until they are looked at. */
const AT_ONCE = 6;

/** How many photos the tray takes. */
const MOST = 200;

/** Which files of a folder are photos, by their names: a folder holds other files too. */
const PHOTO_NAMES = /\.(jpe?g|png|webp|tiff?|gif|bmp|avif|jp2|p[pgn]m)$/i;

/** Where nothing hovers, as on a telephone, nothing can be dropped, and no folder be chosen. */
const BY_TOUCH = matchMedia("(hover: none)").matches;

const waiting = []; // files that are in the tray and were not sent: {file, url}
let tray, counted;

/** Draw the ways in, and the tray, in a root. */
export function mount(root) {
  const files = el("input", { type: "file", id: "files", accept: "image/*,.jp2,.ppm", multiple: true, tLabel: "photos.choose" });
  const folder = el("input", { type: "file", id: "folder", webkitdirectory: true, tLabel: "photos.folder" });
  for (const input of [files, folder]) {
    input.hidden = true;
    input.addEventListener("change", () => {
      take([...input.files], input === folder);
      input.value = "";
    });
  }
  const button = (key, act, kind = "") => el("button", { type: "button", class: kind, t: key, onclick: act });
  tray = el("ul", { class: "tray", tLabel: "photos.tray" });
  tray.addEventListener("keydown", walk);
  counted = el("p", { class: "counted", hidden: true });
  root.append(
    el(
      "div",
      { class: "drop" },
      el("h2", { t: BY_TOUCH ? "photos.invitation-touch" : "photos.invitation" }),
      el("p", { class: "how", t: BY_TOUCH ? "photos.how-touch" : "photos.how" }),
      el(
        "div",
        { class: "ways" },
        button("photos.choose", () => files.click(), "primary"),
        BY_TOUCH ? "" : button("photos.folder", () => folder.click()),
        button("photos.camera", () => openCamera((photo) => take([photo])))
      ),
      files,
      folder,
      el("p", { class: "bounds" })
    ),
    examples(),
    tray,
    counted
  );
  showBounds();
  on(["language"], showBounds);
  on(["photos", "photo", "language"], showTray);
  on(["photo"], () => document.body.classList.toggle("empty", get().photo === null));
  takeDropped(document.documentElement);
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length) take(pasted);
  });
}

/** Take files into the tray, and show the first. */
export async function take(files, folder = false) {
  const photos = folder ? files.filter(({ name }) => PHOTO_NAMES.test(name)) : files;
  if (!photos.length) return tellError(new api.ApiError("no-photos", t("photos.none-there")));
  set({ notice: null });
  const room = MOST - get().photos.length - waiting.length;
  if (photos.length > room) tell(t("photos.too-many", { given: photos.length, most: MOST }));
  const taken = photos.slice(0, Math.max(room, 0));
  waiting.push(...taken.slice(AT_ONCE).map((file) => ({ file, url: URL.createObjectURL(file) })));
  let shown = false;
  for (const file of taken.slice(0, AT_ONCE)) {
    const photo = await sendFile(file);
    if (photo && !shown) showPhoto(photo);
    shown ||= Boolean(photo);
  }
  showTray();
}

/** Send a file, unless it is known to be refused; return the photo, or null. */
async function sendFile(file) {
  try {
    await check(file);
    return await add({ file, name: file.name });
  } catch (error) {
    tellError(error);
    return null;
  }
}

async function add(source) {
  set({ busy: get().busy + 1 });
  try {
    const photo = { ...source, ...(await hold(source)) };
    photo.thumb = URL.createObjectURL(await api.file(`api/photos/${photo.id}/picture?longest=160`));
    set({ photos: [...get().photos, photo] });
    return photo;
  } finally {
    set({ busy: get().busy - 1 });
  }
}

/**
 * Refuse a file that the server would refuse, before it is sent.
 *
 * A file that the browser cannot read is sent: the server reads more formats.
 */
async function check(file) {
  const { limits } = get().page;
  const name = file.name || t("photos.pasted");
  if (file.size === 0) throw new api.ApiError("empty", t("photos.is-empty", { name }));
  if (file.size > limits.bytes) {
    const sizes = { given: millions(file.size), most: millions(limits.bytes) };
    throw new api.ApiError("too-many-bytes", t("photos.too-large", { name, ...sizes }));
  }
  const pixels = await pixelsOf(file);
  if (pixels > limits.pixels) {
    const sizes = { given: millions(pixels), most: millions(limits.pixels) };
    throw new api.ApiError("too-many-pixels", t("photos.too-many-pixels", { name, ...sizes }));
  }
}

/** Return how many pixels a file has, as its head says; 0 if the browser cannot tell. */
async function pixelsOf(file) {
  const picture = new Image();
  const url = URL.createObjectURL(file);
  try {
    return await new Promise((resolve) => {
      picture.onload = () => resolve(picture.naturalWidth * picture.naturalHeight);
      picture.onerror = () => resolve(0);
      picture.src = url;
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

function millions(count) {
  return count >= 1e7 ? Math.round(count / 1e6) : (count / 1e6).toFixed(1);
}

function showBounds() {
  const { bytes, pixels } = get().page.limits;
  const sizes = { bytes: millions(bytes), pixels: millions(pixels) };
  document.querySelector("#photos .bounds").textContent = t("photos.bounds", sizes);
}

function examples() {
  const { samples } = get().page;
  const list = el("ul", { class: "examples" });
  for (const { name } of samples) {
    const take = async () => {
      set({ notice: null });
      const known = get().photos.find(({ sample }) => sample === name);
      try {
        showPhoto(known ?? (await add({ sample: name })));
      } catch (error) {
        tellError(error);
      }
    };
    const picture = el("img", { src: `api/photos/sample/${name}/picture`, alt: "", width: 160, height: 120 });
    list.append(
      el("li", {}, el("button", { type: "button", onclick: take, data: { sample: name } }, picture, el("span", { t: `photos.sample-${name}` })))
    );
  }
  return el("div", { class: "example-photos", hidden: !samples.length }, el("h3", { class: "long", t: "photos.examples" }), el("h3", { class: "short", t: "photos.examples-short" }), list);
}

function showTray() {
  const { photos, photo } = get();
  const sent = photos.map((each) =>
    el(
      "li",
      {},
      thumbnail(each.name, each.thumb, each === photo, () => showPhoto(each)),
      el("button", { type: "button", class: "drop-photo", "aria-label": t("photos.remove", { name: each.name }), onclick: () => remove(each) }, "×")
    )
  );
  const unsent = waiting.map((each) => el("li", {}, thumbnail(each.file.name, each.url, false, () => sendWaiting(each))));
  const held = tray.contains(document.activeElement);
  tray.replaceChildren(...sent, ...unsent);
  const chosen = tray.querySelector("[aria-pressed=true]");
  if (chosen) {
    // Of many photos one is a stop of the Tab key; arrows go from one to the next.
    const item = chosen.closest("li");
    for (const each of tray.querySelectorAll("button")) each.tabIndex = item.contains(each) ? 0 : -1;
    tray.scrollLeft = item.offsetLeft - tray.offsetLeft - (tray.clientWidth - item.clientWidth) / 2;
    if (held) chosen.focus({ preventScroll: true });
  }
  tray.hidden = !tray.children.length;
  counted.hidden = sent.length + unsent.length < 2;
  counted.textContent = t("photos.counted", { count: sent.length + unsent.length });
}

/** Go through the photos by arrows, and take one away by Delete. */
function walk(event) {
  const thumbs = [...tray.querySelectorAll(".thumb")];
  const at = thumbs.indexOf(event.target);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: thumbs.length - 1 }[event.key];
  if (at >= 0 && event.key === "Delete") event.target.parentElement.querySelector(".drop-photo")?.click();
  else if (at < 0 || !thumbs[to]) return;
  else thumbs[to].focus();
  event.preventDefault();
}

function thumbnail(name, url, chosen, act) {
  const picture = el("img", { src: url, alt: "", width: 64, height: 48, loading: "lazy" });
  picture.addEventListener("error", () => picture.replaceWith(el("span", { class: "no-thumb" }, name)));
  const props = { type: "button", class: "thumb", title: name, "aria-label": name, "aria-pressed": String(chosen) };
  return el("button", { ...props, onclick: act }, picture);
}

async function sendWaiting(entry) {
  waiting.splice(waiting.indexOf(entry), 1);
  URL.revokeObjectURL(entry.url);
  set({ notice: null });
  const photo = await sendFile(entry.file);
  if (photo) showPhoto(photo);
  else showTray();
}

/** Drop a photo, here and at the server. */
async function remove(photo) {
  const photos = get().photos.filter((each) => each !== photo);
  URL.revokeObjectURL(photo.thumb);
  set({ photos });
  if (get().photo === photo) showPhoto(photos.at(-1) ?? null);
  try {
    await api.drop(`api/photos/${photo.id}`);
  } catch (error) {
    tell(sentence(error));
  }
}

/** Take what is dropped anywhere on the page: files, and folders with what is in them. */
function takeDropped(root) {
  let depth = 0;
  const isFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = () => document.body.classList.toggle("dropping", depth > 0);
  root.addEventListener("dragenter", (event) => {
    if (isFiles(event)) depth++;
    mark();
  });
  root.addEventListener("dragleave", (event) => {
    if (isFiles(event)) depth--;
    mark();
  });
  root.addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  root.addEventListener("drop", async (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
    const files = [...event.dataTransfer.files]; // read now: it is empty after the first wait
    if (!entries.some((entry) => entry?.isDirectory)) return take(files);
    await take((await Promise.all(entries.filter(Boolean).map(filesOf))).flat(), true);
  });
}

/** Return the files of an entry that was dropped: itself, or all that are in it. */
async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length || found.length >= MOST) return (await Promise.all(found.map(filesOf))).flat();
    found.push(...some); // a reader hands out a hundred at a time
  }
}
