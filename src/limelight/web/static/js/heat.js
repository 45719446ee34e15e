/** Maps as numbers: decoded, looked up, coloured, cut at a threshold. */

const HEAT_STEPS = 65535;
const SIGNED_STEPS = 32767;

/** Red, green, blue and opacity of what is colder than a threshold. */
const COLD = [12, 12, 18, 184];

/** The regions of each map at the threshold that was asked for last. */
const lastRegions = new WeakMap();

/**
 * Return a map as the server sends it with its numbers decoded.
 *
 * @param {object} map as a line of `maps` holds it
 * @param {number[]} box left, top, right, bottom of what the network saw, in pixels of the photo
 * @param {object} request what was asked for
 * @returns the map, with `heat` in 0..1 and `signedValues` in units of the raw map, row by row
 */
export function decodeMap(map, box, request) {
  const heat = Float32Array.from(new Uint16Array(bytes(map.heatmap).buffer), (step) => step / HEAT_STEPS);
  const signedValues = Float32Array.from(
    new Int16Array(bytes(map.signed).buffer), (step) => (step / SIGNED_STEPS) * map.largest
  );
  const { heatmap: _, signed: __, ...facts } = map;
  return { ...facts, box, request, heat, signedValues };
}

/** Return the heat, the signed value, row and column of a map at a point of the photo, or null. */
export function valueAt(map, [x, y]) {
  const [left, top, right, bottom] = map.box;
  const column = Math.floor(((x - left) / (right - left)) * map.columns);
  const row = Math.floor(((y - top) / (bottom - top)) * map.rows);
  if (column < 0 || row < 0 || column >= map.columns || row >= map.rows) return null;
  const index = row * map.columns + column;
  return { heat: map.heat[index], signed: map.signedValues[index], row, column };
}

/** Return 256 colours, RGB one after the other, from how the server sends them. */
export function palette(coded) {
  return bytes(coded);
}

/**
 * Return a canvas with one pixel for each of a map, in colours.
 *
 * @param {object} map the map
 * @param {Uint8Array} colours 256 colours
 * @param {boolean} signed whether they are of the signed values, with zero in the middle
 */
export function paint(map, colours, signed) {
  const canvas = new OffscreenCanvas(map.columns, map.rows);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(map.columns, map.rows);
  const { data } = picture;
  const half = map.largest ? 127.5 / map.largest : 0;
  for (let i = 0; i < map.heat.length; i++) {
    const place = signed ? 127.5 + map.signedValues[i] * half : map.heat[i] * 255;
    const colour = 3 * Math.round(place);
    data[4 * i] = colours[colour];
    data[4 * i + 1] = colours[colour + 1];
    data[4 * i + 2] = colours[colour + 2];
    data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/**
 * Return the regions of a map that are at least as hot as a threshold.
 *
 * @returns `mask`, which pixels they are; `boxes`: left, top, right and bottom of
 *   each region that hangs together, in pixels of the map, largest first; `outline`: the edges
 *   around them, from x, y to x, y; `shade`: a canvas that is dark outside them
 */
export function regions(map, threshold) {
  const known = lastRegions.get(map);
  if (known?.threshold === threshold) return known;
  const found = { threshold, ...findRegions(map, threshold) };
  lastRegions.set(map, found);
  return found;
}

function findRegions(map, threshold) {
  const { rows, columns, heat } = map;
  const mask = new Uint8Array(heat.length);
  for (let i = 0; i < heat.length; i++) {
    // Heat of exactly 0 is no region, also where the threshold is 0.
    if (heat[i] >= threshold && heat[i] > 0) mask[i] = 1;
  }
  const found = connected(mask, rows, columns).sort((a, b) => b.pixels - a.pixels);
  return {
    mask,
    boxes: found.map(({ box }) => box),
    outline: edges(mask, rows, columns),
    shade: shade(mask, rows, columns),
  };
}

/** Return the share of a photo that a mask of a map covers: a map may reach past the photo. */
export function shareOfPhoto({ rows, columns, box }, mask, { width, height }) {
  const [left, top, right, bottom] = box;
  const [across, down] = [(right - left) / columns, (bottom - top) / rows];
  let count = 0;
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const x = left + ((i % columns) + 0.5) * across;
    const y = top + (Math.floor(i / columns) + 0.5) * down;
    if (x >= 0 && y >= 0 && x < width && y < height) count++;
  }
  return (count * across * down) / (width * height);
}

/** Return the share of a map's heat in a box of the photo; null if it has no heat. */
export function heatInside(map, [left, top, right, bottom]) {
  const [boxLeft, boxTop, boxRight, boxBottom] = map.box;
  let inside = 0;
  let all = 0;
  for (let row = 0; row < map.rows; row++) {
    const y = boxTop + ((row + 0.5) / map.rows) * (boxBottom - boxTop);
    for (let column = 0; column < map.columns; column++) {
      const value = map.heat[row * map.columns + column];
      const x = boxLeft + ((column + 0.5) / map.columns) * (boxRight - boxLeft);
      all += value;
      if (x >= left && x < right && y >= top && y < bottom) inside += value;
    }
  }
  return all > 0 ? inside / all : null;
}

function shade(mask, rows, columns) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns, rows);
  mask.forEach((inside, i) => inside || picture.data.set(COLD, 4 * i));
  context.putImageData(picture, 0, 0);
  return canvas;
}

function bytes(coded) {
  return Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
}

/** Return the regions of a mask that hang together by sides: how many pixels, and the box. */
function connected(mask, rows, columns) {
  const seen = new Uint8Array(mask.length);
  const found = [];
  const stack = [];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue;
    const box = [columns, rows, 0, 0];
    let pixels = 0;
    seen[start] = 1;
    stack.push(start);
    while (stack.length) {
      const i = stack.pop();
      const row = Math.floor(i / columns);
      const column = i - row * columns;
      pixels++;
      box[0] = Math.min(box[0], column);
      box[1] = Math.min(box[1], row);
      box[2] = Math.max(box[2], column + 1);
      box[3] = Math.max(box[3], row + 1);
      const beside = [
        column > 0 ? i - 1 : -1,
        column < columns - 1 ? i + 1 : -1,
        i - columns,
        row < rows - 1 ? i + columns : -1,
      ];
      for (const next of beside) {
        if (next >= 0 && mask[next] && !seen[next]) {
          seen[next] = 1;
          stack.push(next);
        }
      }
    }
    found.push({ box, pixels });
  }
  return found;
}

/** Return the sides of pixels that part a mask from what is outside it. */
function edges(mask, rows, columns) {
  const found = [];
  const inside = (row, column) =>
    row >= 0 && column >= 0 && row < rows && column < columns && mask[row * columns + column];
  for (let row = 0; row <= rows; row++) {
    for (let column = 0; column <= columns; column++) {
      const here = Boolean(inside(row, column));
      if (here !== Boolean(inside(row - 1, column))) found.push([column, row, column + 1, row]);
      if (here !== Boolean(inside(row, column - 1))) found.push([column, row, column, row + 1]);
    }
  }
  return found;
}
