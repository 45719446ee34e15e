/** What is painted over a photo: cells of a raster over all of it, as the server takes them. */

/** How many cells the longer side of the raster has. */
const CELLS = 256;

/** How wide the stripes are that show what is painted, in cells; light, and dark. */
const STRIPE = 3;
const STRIPES = [[255, 255, 255, 150], [24, 24, 32, 150]];

/** Return an empty raster over a photo. */
export function rasterOver({ width, height }) {
  const scale = CELLS / Math.max(width, height);
  const columns = Math.max(1, Math.round(width * scale));
  const rows = Math.max(1, Math.round(height * scale));
  return { rows, columns, cells: new Uint8Array(rows * columns) };
}

/**
 * Paint a line with a round brush.
 *
 * @param {object} raster what is painted on
 * @param {number[]} from x and y of where it begins, each 0 to 1 over the photo
 * @param {number[]} to where it ends
 * @param {number} diameter of the brush, in cells
 * @param {boolean} erase whether paint is taken away
 */
export function stroke(raster, from, to, diameter, erase) {
  const { rows, columns, cells } = raster;
  const [x0, y0, x1, y1] = [from[0] * columns, from[1] * rows, to[0] * columns, to[1] * rows];
  const radius = diameter / 2;
  const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(radius / 2, 0.5)));
  for (let step = 0; step <= steps; step++) {
    const x = x0 + ((x1 - x0) * step) / steps;
    const y = y0 + ((y1 - y0) * step) / steps;
    const bottom = Math.min(rows - 1, Math.floor(y + radius));
    const right = Math.min(columns - 1, Math.floor(x + radius));
    for (let row = Math.max(0, Math.floor(y - radius)); row <= bottom; row++) {
      for (let column = Math.max(0, Math.floor(x - radius)); column <= right; column++) {
        const inside = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius ** 2;
        const here = Math.floor(x) === column && Math.floor(y) === row;
        if (inside || here) cells[row * columns + column] = erase ? 0 : 1;
      }
    }
  }
}

/** Whether nothing is painted. */
export function isBlank({ cells }) {
  return !cells.includes(1);
}

/** Return the raster as bits, row by row, each row filled up to whole bytes, as base64. */
export function packed({ rows, columns, cells }) {
  const width = Math.ceil(columns / 8);
  const bytes = new Uint8Array(rows * width);
  cells.forEach((painted, i) => {
    const column = i % columns;
    if (painted) bytes[((i - column) / columns) * width + (column >> 3)] |= 128 >> (column & 7);
  });
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** Return a canvas with stripes where the raster is painted. */
export function striped({ rows, columns, cells }) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns, rows);
  cells.forEach((painted, i) => {
    if (!painted) return;
    const column = i % columns;
    const row = (i - column) / columns;
    picture.data.set(STRIPES[Math.floor((row + column) / STRIPE) % 2], 4 * i);
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}
