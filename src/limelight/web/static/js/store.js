/** What the page shows, in one object; whoever draws a part of it listens to the keys it reads. */

let state = {
  page: null, // what the page offers: GET api/page
  network: null, // the facts of the network in use
  layers: [], // its layers: first the chosen one alone, all once they are found
  photos: [], // [{id, name, width, height, file?, sample?, thumb}]
  photo: null, // one of them
  look: null, // {box, answers, kind, objects?}: what the network answers about the photo
  texts: [], // of a network of pictures and texts: the texts that photos are compared with
  target: {}, // what is explained: {} for the predicted class
  second: null, // a second target, to compare with
  region: null, // the box that was drawn: [left, top, right, bottom] in pixels of the photo
  method: null, // null for the default
  layer: null, // null for the chosen one
  main: null, // the map that is shown, decoded, with its `request` and `box`
  mainError: null, // why there is none: {text, code}
  progress: null, // how far it is: {task, done, total}
  others: {}, // maps by key: "method:NAME", "layer:PATH", "compare"
  view: {
    opacity: 0.6,
    colormap: null, // a name; null for the first that the page offers
    signedColormap: null,
    signed: false,
    threshold: null, // 0..1, or null for none
    shape: "mask", // what a threshold shows: "mask" or "boxes"
    compare: null, // null, "class", "method" or "network"
    otherMethod: null,
    otherNetwork: null,
    swipe: 0.5,
    tool: "point", // "point", "box" or "brush"
    at: null, // the crosshair: [x, y] in pixels of the photo
  },
  brush: { size: 0.08, fill: "blurred", other: null },
  busy: 0, // how many requests are on their way that the reader waits for
  notice: null, // {kind: "error" | "info", text}
  language: "en",
};

const listeners = [];
let changed = new Set();

/** Return the state. It is changed by `set` alone. */
export function get() {
  return state;
}

/** Change keys of the state. */
export function set(changes) {
  for (const [key, value] of Object.entries(changes)) {
    if (Object.is(state[key], value)) continue;
    state = { ...state, [key]: value };
    mark(key);
  }
}

/** Change keys of `state.view`; whoever listens to "view", or to "view.NAME", is called. */
export function setView(changes) {
  const kept = Object.entries(changes).filter(([key, value]) => !Object.is(state.view[key], value));
  if (!kept.length) return;
  state = { ...state, view: { ...state.view, ...Object.fromEntries(kept) } };
  mark("view");
  for (const [key] of kept) mark(`view.${key}`);
}

/** Call a listener after any of some keys changed, once for all changes of a moment. */
export function on(keys, listener) {
  listeners.push({ keys, listener });
}

function mark(key) {
  if (!changed.size) queueMicrotask(callListeners);
  changed.add(key);
}

function callListeners() {
  const now = changed;
  changed = new Set();
  for (const { keys, listener } of listeners) {
    if (keys.some((key) => now.has(key))) listener(state);
  }
}
