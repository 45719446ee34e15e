// Explains photos with a file of `limelight export --preprocessing`, by onnxruntime-web alone.
//
//     const network = await load(new Uint8Array(await (await fetch("network.onnx")).arrayBuffer()));
//     const result = await network.explain(await readPhoto(blob));
//     result.classes[0].name, result.maps[0].heatmap, result.maps[0].status
//
// The numbers are those of `limelight run`: the file itself resizes, crops and scales the photo.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // several need headers that a plain server does not send

const FORM = 1; // of the description; a later limelight may write a later one
const STATUSES = ["ok", "no-positive-evidence", "disconnected", "cancelled", "flat", "not-finite"];
const BACKGROUND = ["background", "__background__", "bg", "unlabeled", "void"];
const MOST_PIXELS = 16e6; // what every browser's canvas holds

/** Open an exported file, given as bytes. */
export async function load(bytes) {
  const text = metadata(bytes).limelight;
  if (!text) throw new Error("This is no file that limelight exported.");
  const about = JSON.parse(text);
  if (about.form > FORM) throw new Error(`limelight ${about.version} wrote this file; update this page.`);
  if (!about.preprocessing_inside) {
    throw new Error("This file takes no photos: export it again with the preprocessing inside.");
  }
  return new Network(await ort.InferenceSession.create(bytes), about);
}

/** Decode a photo to bytes [height, width, 3], upright, transparent parts over white. */
export async function readPhoto(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(bitmap.width * scale);
  canvas.height = Math.floor(bitmap.height * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  return { canvas, pixels, width: canvas.width, height: canvas.height };
}

class Network {
  constructor(session, about) {
    this.session = session;
    this.about = about; // the description: network, classes, maps, preprocess, parity, ...
  }

  /** Explain a photo: the predicted class, or the one with this index. */
  async explain(photo, target = -1) {
    const channels = this.about.input_shape[0];
    const bytes = channels === 1 ? grey(photo.pixels) : photo.pixels;
    const started = performance.now();
    const outputs = await this.session.run({
      image: new ort.Tensor("uint8", bytes, [photo.height, photo.width, channels]),
      target: new ort.Tensor("int64", [BigInt(target)], [1]),
    });
    const milliseconds = performance.now() - started;
    const classes = ranked(outputs.logits, this.about);
    return {
      classes, // index, name and probability, the predicted class first
      shown: target < 0 ? classes[0] : classes.find((each) => each.index === target),
      crop: Array.from(outputs.crop.data), // left, top, right, bottom of what the network saw
      maps: this.about.maps.map((map) => readMap(map, outputs)),
      logits: outputs.logits.data,
      milliseconds,
    };
  }
}

function readMap(map, outputs) {
  const number = Number(outputs[map.status].data[0]);
  const [, height, width] = outputs[map.heatmap].dims;
  return {
    method: map.method,
    layer: map.layer,
    status: STATUSES[number],
    message: map.messages[number],
    heatmap: outputs[map.heatmap].data, // [height, width] in [0, 1]
    raw: outputs[map.raw].data,
    height,
    width,
  };
}

/** The weights of red, green and blue in grey are Pillow's. */
function grey(rgb) {
  const bytes = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = (rgb[3 * i] * 19595 + rgb[3 * i + 1] * 38470 + rgb[3 * i + 2] * 7471 + 0x8000) >> 16;
  }
  return bytes;
}

/** Return all classes with their probabilities, the predicted one first. */
function ranked(logits, about) {
  const shares = probabilities(logits, about);
  const name = (index) => (about.classes ? about.classes[index] : `class ${index}`);
  const classes = Array.from(shares, (probability, index) => ({ index, name: name(index), probability }));
  const last = (each) => about.output === "regions" && BACKGROUND.includes(each.name.toLowerCase());
  return classes.sort((a, b) => last(a) - last(b) || b.probability - a.probability);
}

/** The probability of each class; of a segmenter, the share of the picture where it is predicted. */
function probabilities({ data, dims }, about) {
  if (about.output === "classes") return data.length > 1 ? softmax(data) : [sigmoid(data[0])];
  if (about.output === "boxes") {
    const [, boxes, columns] = dims;
    const best = new Array(columns - about.no_object).fill(0);
    for (let n = 0; n < boxes; n++) {
      const row = data.subarray(n * columns, (n + 1) * columns);
      const likely = about.no_object ? softmax(row) : row.map(sigmoid);
      best.forEach((share, c) => (best[c] = Math.max(share, likely[c])));
    }
    return best;
  }
  const count = dims[1], cells = data.length / count, areas = new Array(count).fill(0);
  for (let i = 0; i < cells; i++) {
    let best = 0;
    for (let c = 1; c < count; c++) if (data[c * cells + i] > data[best * cells + i]) best = c;
    if (count > 1 || data[i] > 0) areas[best] += 1 / cells;
  }
  return areas;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

/** Return the metadata of an ONNX file, which onnxruntime-web does not hand out.
 *
 * A file is a sequence of fields: a number for field and kind, then a number (kind 0), 8 bytes (1),
 * a length and as many bytes (2), or 4 bytes (5). Field 14 is a pair of a key (1) and a value (2).
 */
export function metadata(bytes) {
  const pairs = {};
  for (const [field, pair] of fields(bytes)) {
    if (field !== 14) continue;
    const { 1: key, 2: value } = Object.fromEntries(fields(pair));
    pairs[new TextDecoder().decode(key)] = new TextDecoder().decode(value);
  }
  return pairs;
}

function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0, shift = 1, byte;
    do {
      if (at >= bytes.length) throw new Error("This ONNX file is cut short.");
      byte = bytes[at++];
      value += (byte & 127) * shift;
      shift *= 128;
    } while (byte > 127);
    return value;
  };
  while (at < bytes.length) {
    const tag = number(), kind = tag & 7;
    if (![0, 1, 2, 5].includes(kind)) throw new Error("This is no ONNX file.");
    const length = { 1: 8, 5: 4 }[kind] ?? number();
    if (kind !== 0 && at + length > bytes.length) throw new Error("This ONNX file is cut short.");
    if (kind !== 0) yield [tag >> 3, bytes.subarray(at, (at += length))];
  }
}
