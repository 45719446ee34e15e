/** Takes a photo by the camera of the reader's machine. */

import { el } from "./dom.js";
import { get } from "./store.js";
import { t } from "./texts.js";

/** What went wrong with a camera, by the name of the browser's error. */
const PROBLEMS = {
  NotAllowedError: "photos.camera-denied",
  SecurityError: "photos.camera-denied",
  NotFoundError: "photos.camera-none",
  OverconstrainedError: "photos.camera-none",
  NotReadableError: "photos.camera-taken",
};

/** Show what the camera sees, and call a function with the photo, a file, once it is taken. */
export async function openCamera(onPhoto) {
  const video = el("video", { autoplay: true, playsinline: true, muted: true, tLabel: "photos.camera" });
  video.muted = true;
  const shutter = el("button", { type: "button", class: "primary", t: "photos.shutter", disabled: true });
  const cancel = el("button", { type: "button", t: "view.cancel" });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const dialog = el(
    "dialog",
    { class: "camera", tLabel: "photos.camera" },
    el("h2", { t: "photos.camera" }),
    problem,
    video,
    el("div", { class: "ways" }, shutter, cancel)
  );
  let stream = null;
  let closed = false;
  dialog.addEventListener("close", () => {
    closed = true;
    stream?.getTracks().forEach((track) => track.stop());
    dialog.remove();
  });
  cancel.addEventListener("click", () => dialog.close());
  shutter.addEventListener("click", async () => {
    const photo = await taken(video);
    dialog.close();
    onPhoto(photo);
  });
  document.body.append(dialog);
  dialog.showModal();
  try {
    // Browsers offer no camera to pages of other machines without https.
    if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
    if (closed) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    await video.play();
    shutter.disabled = false;
    shutter.focus();
  } catch (error) {
    problem.hidden = false;
    video.hidden = true;
    problem.textContent = t(PROBLEMS[error.name] ?? "photos.camera-failed");
  }
}

/** Return what the video shows as a file, no larger than the page takes. */
async function taken(video) {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, Math.sqrt(get().page.limits.pixels / (videoWidth * videoHeight)));
  const [width, height] = [videoWidth, videoHeight].map((side) => Math.floor(side * scale));
  const canvas = el("canvas", { width, height });
  canvas.getContext("2d").drawImage(video, 0, 0, width, height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" });
}
