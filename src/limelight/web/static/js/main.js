/** Starts the page: loads the words and what is offered, then lets each part draw itself. */

import * as api from "./api.js";
import * as cell from "./cell.js";
import { audit, walkthrough } from "./documents.js";
import * as keptPhotos from "./kept_photos.js";
import * as notices from "./notices.js";
import * as out from "./out.js";
import * as photos from "./photos.js";
import * as probe from "./probe.js";
import * as objects from "./objects.js";
import * as pixels from "./pixels.js";
import * as prompts from "./prompts.js";
import * as requests from "./requests.js";
import * as settings from "./settings.js";
import * as stage from "./stage.js";
import { get, on, set } from "./store.js";
import * as strips from "./strips.js";
import * as tabs from "./tabs.js";
import * as targets from "./targets.js";
import { loadTexts, t, translate } from "./texts.js";
import * as trust from "./trust.js";
import * as words from "./words.js";

/** Each part, and the id of the element that it fills, in the order in which they are drawn. */
const PARTS = [
  [notices, "notice"],
  [settings, "settings"],
  [photos, "photos"],
  [targets, "targets"],
  [prompts, "targets"],
  [words, "targets"],
  [stage, "stage"],
  [objects, "targets"],
  [pixels, "targets"],
  [strips, "strips"],
  [out, "panel-out"],
  [walkthrough, "panel-walkthrough"],
  [audit, "panel-audit"],
  [tabs, "tabs"],
  [probe, "panel-probe"],
  [cell, "panel-probe"],
  [trust, "panel-trust"],
];

async function start() {
  const language = await loadTexts(settings.rememberedLanguage());
  const page = await api.get("api/page");
  set({ language, page });
  translate(document);
  for (const [part, id] of PARTS) part.mount(document.getElementById(id));
  requests.follow();
  keptPhotos.remember();
  on(["photo", "language"], showTitle);
  showTitle();
  await requests.useNetwork(page.networks[0]);
  await keptPhotos.restore();
  document.documentElement.dataset.ready = "yes";
}

/** Name the photo in the browser's tab. */
function showTitle() {
  const { photo } = get();
  document.title = photo ? `${photo.name} · ${t("title")}` : t("title");
}

start().catch(notices.tellError);
