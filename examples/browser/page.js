// The page: what is chosen goes to explain.js, what comes back is drawn.

import { load, readPhoto } from "./explain.js";

const get = (id) => document.getElementById(id);
const main = document.querySelector("main");

/** Eleven colours of matplotlib's map "inferno", from no heat to the most. */
const COLOURS = [
  "#000004", "#160b39", "#420a68", "#6a176e", "#932667", "#bc3754", "#dd513a", "#f37819", "#fca50a", "#f6d746", "#fcffa4",
];
const RGB = COLOURS.map((each) => [1, 3, 5].map((at) => parseInt(each.slice(at, at + 2), 16)));

let network = null, photo = null, result = null, chosen = 0;

/** Run a task and show in words what it does; tasks run one after the other. */
let tasks = Promise.resolve();
function task(words, work) {
  tasks = tasks.then(async () => {
    main.setAttribute("aria-busy", "true");
    say(words);
    await new Promise((done) => setTimeout(done, 30)); // time to show the words
    try {
      say(await work());
    } catch (error) {
      say(error.message ?? String(error), true);
    }
    main.setAttribute("aria-busy", "false");
  });
  return tasks;
}

function say(words, bad = false) {
  get("status").textContent = words;
  get("status").classList.toggle("bad", bad);
}

async function openNetwork(read) {
  network = await load(await read());
  const { about } = network, { maps, parity } = about;
  const places = [...new Set(maps.map((map) => map.layer))].join(", ");
  get("about").textContent =
    `${about.network}${about.weights ? ` (${about.weights})` : ""}, explained at ${places}. ` +
    `Written by limelight ${about.version}; at export its maps differed from the network's by at most ` +
    `${parity.raw.toExponential(0)} of their largest value.`;
  chosen = 0;
  get("maps").hidden = maps.length < 2;
  chips("maps", maps.map((map) => ({ name: map.method, value: map.heatmap })), (number) => {
    chosen = number;
    draw();
  });
  if (photo) return explain(-1);
  return "Ready: choose a photo.";
}

async function openPhoto(blob) {
  const opened = await readPhoto(blob).catch(() => {
    throw new Error("This browser cannot read that photo. Choose a JPEG, PNG or WebP.");
  });
  photo = opened;
  get("photo").width = photo.width;
  get("photo").height = photo.height;
  get("photo").getContext("2d").drawImage(photo.canvas, 0, 0);
  get("photo").hidden = false;
  get("empty").hidden = true;
  get("stage").classList.add("full");
  get("stage").style.aspectRatio = `${photo.width} / ${photo.height}`;
  get("stage").style.width = `min(100%, ${(68 * photo.width) / photo.height}vh)`;
  return network ? explain(-1) : "The network is not there yet.";
}

async function explain(target) {
  result = await network.explain(photo, target);
  if (target < 0) {
    const best = result.classes.slice(0, 5);
    const shown = best.map(({ name, probability }) => ({ name, probability, value: name }));
    chips("classes", shown, (number) => {
      task("Explaining …", () => explain(best[number].index));
    });
  }
  draw();
  return `Explained in ${Math.round(result.milliseconds)} ms.`;
}

/** Fill a group with one radio button per item; the first is on. */
function chips(id, items, choose) {
  const made = items.map(({ name, value, probability }, number) => {
    const label = document.createElement("label"), input = document.createElement("input");
    label.className = "chip";
    Object.assign(input, { type: "radio", name: id, value, checked: number === 0 });
    input.addEventListener("change", () => choose(number));
    const bar = document.createElement("i"), text = document.createElement("span");
    text.textContent = name;
    label.append(bar, input, text);
    if (probability !== undefined) {
      bar.style.width = `${100 * probability}%`;
      const share = document.createElement("span");
      share.className = "share";
      share.textContent = percent(probability);
      label.append(share);
    }
    return label;
  });
  get(id).replaceChildren(get(id).querySelector("legend"), ...made);
}

const percent = (share) => (share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`);

function draw() {
  const { shown, crop, classes } = result, map = result.maps[chosen];
  get("label").textContent = shown.name;
  get("sentence").textContent = shown.index === classes[0].index
    ? `The network's answer, with ${percent(shown.probability)}.`
    : `The network gives this class ${percent(shown.probability)}.`;
  get("nothing").hidden = map.status === "ok";
  get("nothing").textContent = `No heat is shown (${map.status}). ${map.message}`;
  const grid = network.about.maps[chosen].grid;
  get("facts").textContent =
    `${map.method} at layer ${map.layer}, ${grid.join(" × ")} cells. ` +
    "The network sees the part of the photo inside the frame.";
  drawHeat(map);
  const [left, top, right, bottom] = crop;
  Object.assign(get("seen").style, {
    left: `${(100 * left) / photo.width}%`,
    top: `${(100 * top) / photo.height}%`,
    width: `${(100 * (right - left)) / photo.width}%`,
    height: `${(100 * (bottom - top)) / photo.height}%`,
  });
  get("heat").setAttribute("aria-label", `Heat of ${shown.name}: ${where(map)}`);
  get("seen").hidden = get("result").hidden = false;
  globalThis.explained = { ...result, photo, map }; // for the console, and for tests
}

/** Draw a heatmap: the hotter, the more opaque, up to 75 % from a heat of 0.6 on. */
function drawHeat({ heatmap, height, width }) {
  const canvas = get("heat"), picture = new ImageData(width, height);
  heatmap.forEach((heat, i) => {
    const at = heat * (RGB.length - 1), low = Math.min(Math.floor(at), RGB.length - 2);
    for (let k = 0; k < 3; k++) {
      picture.data[4 * i + k] = RGB[low][k] + (at - low) * (RGB[low + 1][k] - RGB[low][k]);
    }
    picture.data[4 * i + 3] = 255 * 0.75 * Math.min(1, heat / 0.6);
  });
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Say in words where a heatmap is hottest. */
function where({ heatmap, height, width }) {
  const most = heatmap.reduce((best, heat, i) => (heat > heatmap[best] ? i : best), 0);
  if (heatmap[most] === 0) return "none";
  const third = (at, size, names) => names[Math.min(2, Math.floor((3 * at) / size))];
  const row = third(Math.floor(most / width), height, ["upper", "middle", "lower"]);
  return `hottest in the ${row} ${third(most % width, width, ["left", "centre", "right"])}`;
}

function take(file) {
  if (file.name?.toLowerCase().endsWith(".onnx")) {
    task("Loading the network …", () => openNetwork(async () => new Uint8Array(await file.arrayBuffer())));
  } else {
    task("Explaining …", () => openPhoto(file));
  }
}

async function fetched(name, advice = "") {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`There is no ${name} beside this page. ${advice}`);
  return answer;
}

get("file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
get("samples").addEventListener("click", ({ target }) => {
  const name = target.closest("button")?.dataset.photo;
  if (name) task("Explaining …", async () => openPhoto(await (await fetched(name)).blob()));
});
for (const image of get("samples").querySelectorAll("img")) {
  const drop = () => image.parentElement.remove(); // prepare.py has not been run
  if (image.complete && !image.naturalWidth) drop();
  image.addEventListener("error", drop);
}
get("opacity").addEventListener("input", ({ target }) => {
  get("heat").style.opacity = target.value / 100;
  get("percent").textContent = `${target.value} %`;
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length) take(clipboardData.files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
get("colours").style.background = `linear-gradient(to right, ${COLOURS.join(", ")})`;

task("Loading the network …", () =>
  openNetwork(async () => {
    const answer = await fetched("network.onnx", "Run prepare.py, or drop an exported file here.");
    return new Uint8Array(await answer.arrayBuffer());
  }),
);
