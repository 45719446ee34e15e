/** Two maps in one view, parted by a handle: of two classes, two methods or two networks. */

import { el } from "./dom.js";
import { sentenceOf } from "./targets.js";
import { get, on, setView } from "./store.js";
import { t } from "./texts.js";

const KINDS = ["class", "method", "network"];

let kind, method, network, handle, left, right;

/** Draw the choice in a toolbar, and the handle in a view. */
export function mount(toolbar, view, { screenPoint, photoPoint }) {
  const { methods, networks } = get().page;
  kind = el("select", { id: "compare", onchange: choose });
  method = el("select", { id: "other-method", tLabel: "view.other-method" });
  method.append(
    ...methods.filter(({ family }) => family !== "words").map(({ name }) => el("option", { value: name }, name))
  );
  method.addEventListener("change", () => setView({ otherMethod: method.value }));
  network = el("select", { id: "other-network", tLabel: "view.other-network" });
  network.append(...networks.map((name) => el("option", { value: name }, name)));
  network.addEventListener("change", () => setView({ otherNetwork: network.value }));
  toolbar.append(
    el("div", { class: "compare" }, el("label", {}, el("span", { t: "view.compare" }), " ", kind), method, network)
  );
  handle = el(
    "div",
    {
      class: "swipe", role: "slider", tabindex: "0", tLabel: "view.swipe",
      "aria-valuemin": "0", "aria-valuemax": "100", hidden: true,
    },
    el("span", { class: "grip", "aria-hidden": "true" }, "⇔")
  );
  left = el("p", { class: "side left", hidden: true });
  right = el("p", { class: "side right", hidden: true });
  view.append(left, right, handle);
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    event.stopPropagation();
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    setView({ swipe: photoPoint(event, true)[0] / get().photo.width });
  });
  handle.addEventListener("keydown", slide);
  const put = () => {
    if (!get().photo) return;
    const [x] = screenPoint([get().view.swipe * get().photo.width, 0]);
    handle.style.left = `${x}px`;
    handle.setAttribute("aria-valuenow", String(Math.round(100 * get().view.swipe)));
  };
  view.addEventListener("placed", put);
  on(["view.swipe"], put);
  on(["network"], takeAnother);
  on(["language"], showKinds);
  on(["main", "others", "view.compare", "language"], () => show(put));
  showKinds();
  show(put);
}

function showKinds() {
  const offered = get().page.networks.length > 1 ? KINDS : KINDS.slice(0, 2);
  kind.replaceChildren(
    el("option", { value: "", t: "view.compare-none" }),
    ...offered.map((name) => el("option", { value: name, t: `view.compare-${name}` }))
  );
  kind.value = get().view.compare ?? "";
}

function choose() {
  const { main, view } = get();
  const changes = { compare: kind.value || null, swipe: 0.5 };
  if (kind.value === "method" && !view.otherMethod) {
    changes.otherMethod = main?.method === "layercam" ? "gradcam" : "layercam";
  }
  setView(changes);
  if (!view.otherNetwork) takeAnother();
}

/** Compare with another network than the one that is shown; after a change with the one before. */
function takeAnother() {
  const { page, network: own, view } = get();
  if (view.otherNetwork && view.otherNetwork !== own.name) return;
  setView({ otherNetwork: page.networks.find((name) => name !== own.name) ?? null });
}

function slide(event) {
  const { swipe } = get().view;
  const step = event.shiftKey ? 0.1 : 0.02;
  const moved = {
    ArrowLeft: swipe - step, ArrowDown: swipe - step, ArrowRight: swipe + step, ArrowUp: swipe + step,
    Home: 0, End: 1,
  }[event.key];
  if (moved === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  setView({ swipe: Math.min(Math.max(moved, 0), 1) });
}

function show(put) {
  const { main, others, view } = get();
  kind.value = view.compare ?? "";
  method.hidden = view.compare !== "method";
  network.hidden = view.compare !== "network";
  method.value = view.otherMethod ?? "";
  network.value = view.otherNetwork ?? "";
  const other = others.compare;
  handle.hidden = left.hidden = right.hidden = !(view.compare && main && other);
  if (handle.hidden) return;
  left.textContent = named(main, view.compare);
  right.textContent = other.heat ? named(other, view.compare) : other.error;
  put();
}

/** Return what tells a map from the one beside it. */
function named(map, compare) {
  if (compare === "method") return map.method;
  if (compare === "network") return `${map.request.network} · ${sentenceOf(map)}`;
  return sentenceOf(map) || t("view.this-map");
}
