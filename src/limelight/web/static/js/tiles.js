/** Draws the small maps of the strips. */

import { mapCanvas } from "./stage.js";
import { get } from "./store.js";

/** The longer side of a tile, in pixels. */
const SIDE = 224;

/** Draw the part of the photo that the network saw, and the heat on it. */
export function drawTile(canvas, picture, map) {
  const { photo, look, view } = get();
  const box = map?.box ?? look?.box ?? [0, 0, photo.width, photo.height];
  const [left, top, right, bottom] = box;
  const scale = SIDE / Math.max(right - left, bottom - top);
  canvas.width = Math.round((right - left) * scale);
  canvas.height = Math.round((bottom - top) * scale);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(
    picture, -left * scale, -top * scale, photo.width * scale, photo.height * scale
  );
  if (!map || (map.status.name !== "ok" && !view.signed)) return;
  context.globalAlpha = view.opacity;
  context.drawImage(mapCanvas(map), 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
}

/** Return the point of the photo under an event on a tile. */
export function pointOfTile(event, canvas, { box: [left, top, right, bottom] }) {
  const rect = canvas.getBoundingClientRect();
  const x = left + ((event.clientX - rect.left) / rect.width) * (right - left);
  const y = top + ((event.clientY - rect.top) / rect.height) * (bottom - top);
  const { photo } = get();
  const inside = x >= 0 && y >= 0 && x < photo.width && y < photo.height;
  return inside ? [x, y] : null;
}
