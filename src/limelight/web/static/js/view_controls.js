/** How the map is shown: opacity, colours, signed or not, and the threshold. */

import { el } from "./dom.js";
import { get, on, setView } from "./store.js";

/** The threshold when it is first turned on. */
const FIRST_THRESHOLD = 0.5;

/** Draw the controls in a root. */
export function mount(root) {
  const controls = el("div", { class: "controls" }, opacity(), colours(), threshold());
  root.append(controls);
}

function opacity() {
  const shown = el("output", {});
  const slider = el("input", { type: "range", min: "0", max: "1", step: "0.01", id: "opacity" });
  slider.addEventListener("input", () => setView({ opacity: Number(slider.value) }));
  const show = () => {
    slider.value = get().view.opacity;
    shown.textContent = `${Math.round(100 * get().view.opacity)}%`;
  };
  on(["view.opacity"], show);
  show();
  return el("label", { class: "control" }, el("span", { t: "view.opacity" }), slider, shown);
}

function colours() {
  const signed = el("input", { type: "checkbox", id: "signed" });
  signed.addEventListener("change", () => setView({ signed: signed.checked }));
  const map = el("select", { id: "colormap", tLabel: "view.colours", tTitle: "view.colours" });
  map.addEventListener("change", () =>
    setView(get().view.signed ? { signedColormap: map.value } : { colormap: map.value })
  );
  const show = () => {
    const { view, page } = get();
    const names = Object.keys(view.signed ? page.colormaps.signed : page.colormaps.heat);
    signed.checked = view.signed;
    map.replaceChildren(...names.map((name) => el("option", { value: name }, name.replace(/_r$/, ""))));
    map.value = (view.signed ? view.signedColormap : view.colormap) ?? names[0];
  };
  on(["view.signed", "view.colormap", "view.signedColormap"], show);
  show();
  return el(
    "div",
    { class: "control" },
    map,
    el("label", { class: "check", tTitle: "view.signed-hint" }, signed, el("span", { t: "view.signed" }))
  );
}

function threshold() {
  const turned = el("input", { type: "checkbox", id: "threshold-on" });
  const shown = el("output", {});
  const slider = el("input", {
    type: "range", min: "0", max: "1", step: "0.01", id: "threshold", tLabel: "view.threshold",
  });
  const shapes = ["mask", "boxes"].map((name) => {
    const act = () => setView({ shape: name });
    return el("button", { type: "button", data: { shape: name }, t: `view.shape-${name}`, onclick: act });
  });
  turned.addEventListener("change", () => setView({ threshold: turned.checked ? Number(slider.value) : null }));
  slider.addEventListener("input", () => setView({ threshold: Number(slider.value) }));
  slider.value = FIRST_THRESHOLD;
  const show = () => {
    const { threshold: value, shape } = get().view;
    turned.checked = value !== null;
    if (value !== null) slider.value = value;
    shown.textContent = value === null ? "–" : value.toFixed(2);
    for (const button of shapes) {
      button.setAttribute("aria-pressed", String(button.dataset.shape === shape));
      button.disabled = value === null;
    }
  };
  on(["view.threshold", "view.shape"], show);
  show();
  return el(
    "div",
    { class: "control" },
    el("label", { class: "check" }, turned, el("span", { t: "view.threshold" })),
    slider,
    shown,
    el("div", { class: "choice small", role: "group", tLabel: "view.shape" }, ...shapes)
  );
}
