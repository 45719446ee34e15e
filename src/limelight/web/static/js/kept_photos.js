/** The photos of the tray, remembered by this tab: after a reload they are there again. */

import * as api from "./api.js";
import { showPhoto } from "./requests.js";
import { get, on, set } from "./store.js";

const KEY = "limelight-photos";

/** Remember which photos are in the tray whenever it changes. */
export function remember() {
  on(["photos", "photo", "main"], write); // with a map, as a photo that is sent again has another id
}

/** Show the photos that this tab had before, those that the server still holds. */
export async function restore() {
  const { kept, shown } = read();
  for (const [number, known] of kept.entries()) {
    try {
      const thumb = URL.createObjectURL(await api.file(`api/photos/${known.id}/picture?longest=160`));
      const photo = { ...known, thumb };
      set({ photos: [...get().photos, photo] });
      if (number === shown && !get().photo) showPhoto(photo);
    } catch (error) {
      if (error.code !== "no-such-photo") throw error;
    }
  }
  if (!get().photo && get().photos.length) showPhoto(get().photos[0]);
}

function write() {
  const { photos, photo } = get();
  const kept = photos.map(({ id, name, width, height, sample }) => ({ id, name, width, height, sample }));
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ kept, shown: photos.indexOf(photo) }));
  } catch {
    // A frame may not keep anything.
  }
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? { kept: [], shown: -1 };
  } catch {
    return { kept: [], shown: -1 };
  }
}
