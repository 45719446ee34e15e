/** Documents in frames of their own: how the map came to be, and the report of an audit. */

import { get as fetched, isStopped } from "./api.js";
import { el } from "./dom.js";
import { sentence } from "./notices.js";
import { answersInWords, askLines, mapRequest } from "./requests.js";
import { get, on } from "./store.js";
import { onPanel } from "./tabs.js";
import { t } from "./texts.js";

/** The panel in which a map is walked through; it is made when it is opened, and anew when the map
 *  is another. */
export const walkthrough = { mount: mountWalkthrough };

/** The panel of an audit's report; without an audit there is no tab. */
export const audit = { mount: mountAudit };

function mountWalkthrough(root) {
  const heading = el("h2", { t: "documents.walkthrough-title" });
  const note = el("p", { class: "note", t: "documents.walkthrough-about" });
  const state = el("div", { class: "document-state", role: "status" });
  const link = el("a", { target: "_blank", rel: "noopener", t: "documents.open", hidden: true });
  const place = el("div", { class: "document" });
  root.append(el("div", { class: "document-head" }, el("div", {}, heading, note), link), state, place);
  let open = false;
  let made = null; // what the document that is shown is of
  let abort = null;

  const show = (address) => {
    link.hidden = address === null;
    if (address) link.href = address;
    place.replaceChildren(...(address ? [frame(address, t("documents.walkthrough-title"))] : []));
  };
  const make = async (overrides = {}) => {
    abort?.abort();
    const mine = (abort = new AbortController());
    const asked = { ...mapRequest(overrides), replaces: "walkthrough" };
    const told = el("span", {}, t("documents.waiting"));
    state.replaceChildren(el("progress", { tLabel: "view.progress" }), told);
    show(null);
    const onLine = ({ progress, document: address }) => {
      if (mine.signal.aborted) return;
      if (progress) told.textContent = t("documents.making", { task: progress.task });
      if (!address) return;
      state.replaceChildren();
      show(address);
    };
    try {
      await askLines("walkthrough", asked, onLine, { signal: mine.signal });
    } catch (error) {
      if (isStopped(error) || mine.signal.aborted) return;
      state.replaceChildren(el("p", { class: "failed" }, sentence(error)), ...instead(error, make));
    }
  };
  const renew = () => {
    if (!open) return;
    const { photo, network, language } = get();
    if (!photo || !network || answersInWords()) {
      made = null;
      abort?.abort();
      show(null);
      state.replaceChildren(el("p", { class: "note" }, t("documents.nothing")));
      return;
    }
    const now = JSON.stringify([photo.id, language, mapRequest()]);
    if (now === made) return;
    made = now;
    make();
  };
  onPanel((name) => {
    open = name === "walkthrough";
    renew();
  });
  on(["photo", "network", "texts", "target", "method", "layer", "language"], renew);
}

/** Return a button that walks through another method, where this one cannot be taken apart. */
function instead(error, make) {
  if (error.code !== "not-walkable") return [];
  const method = get().look?.kind === "detector" ? "hirescam" : "gradcam";
  const text = t("documents.other-method", { method });
  return [el("button", { type: "button", onclick: () => make({ method }) }, text)];
}

function mountAudit(root) {
  const tab = document.getElementById("tab-audit");
  tab.hidden = !get().page.audit;
  if (tab.hidden) return;
  const heading = el("h2", { t: "documents.audit-title" });
  const choice = el("div", { class: "choice" });
  const link = el("a", { target: "_blank", rel: "noopener", t: "documents.open", hidden: true });
  const place = el("div", { class: "document" });
  root.append(el("div", { class: "document-head" }, heading, choice, link), place);
  let shown = null;

  const show = ({ name, address }) => {
    shown = name;
    link.hidden = false;
    link.href = address;
    for (const button of choice.children) {
      button.setAttribute("aria-pressed", String(button.dataset.name === name));
    }
    place.replaceChildren(frame(address, t(`documents.${name}`)));
  };
  const load = async () => {
    try {
      const { pages } = await fetched("api/audit");
      choice.replaceChildren(...(pages.length > 1 ? pages.map((page) => auditButton(page, show)) : []));
      if (shown === null) show(pages[0]);
    } catch (error) {
      place.replaceChildren(el("p", { class: "failed" }, sentence(error)));
    }
  };
  onPanel((name) => name === "audit" && load());
}

function auditButton(page, show) {
  const { name } = page;
  return el("button", { type: "button", data: { name }, t: `documents.${name}`, onclick: () => show(page) });
}

/** Return a frame with a document, which has no access to the page. */
function frame(address, title) {
  return el("iframe", { src: address, sandbox: "allow-scripts", title });
}
