/** Starts the page: loads the words and what is offered, then lets each part draw itself. */

import * as api from "./api.js";
import * as notices from "./notices.js";
import * as objects from "./objects.js";
import * as photos from "./photos.js";
import * as prompts from "./prompts.js";
import * as requests from "./requests.js";
import * as settings from "./settings.js";
import * as stage from "./stage.js";
import { set } from "./store.js";
import * as strips from "./strips.js";
import * as tabs from "./tabs.js";
import * as targets from "./targets.js";
import { loadTexts, translate } from "./texts.js";
import * as words from "./words.js";
// The panels; each is mounted below in the section that it fills.

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
  [strips, "strips"],
  [tabs, "tabs"],
  // The panels: [probe, "panel-probe"], and so on.
];

async function start() {
  const language = await loadTexts(settings.rememberedLanguage());
  const page = await api.get("api/page");
  set({ language, page });
  translate(document);
  document.title = document.querySelector("h1").textContent;
  for (const [part, id] of PARTS) part.mount(document.getElementById(id));
  requests.follow();
  await requests.useNetwork(page.networks[0]);
  document.documentElement.dataset.ready = "yes";
}

start().catch(notices.tellError);
