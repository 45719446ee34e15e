/** Tells what went wrong, or what to know, in a sentence above the page. */

import { isStopped } from "./api.js";
import { el } from "./dom.js";
import { get, on, set } from "./store.js";
import { t } from "./texts.js";

/** Show an error to the reader, unless it only says that nobody waits any more. */
export function tellError(error) {
  if (isStopped(error)) return;
  if (error.code === undefined) console.error(error);
  set({ notice: { kind: "error", text: sentence(error) } });
}

/** Show a sentence to the reader. */
export function tell(text) {
  set({ notice: { kind: "info", text } });
}

/** Return what an error says, as a sentence. */
export function sentence(error) {
  return error.message && error.code !== undefined ? error.message : t("view.unreachable");
}

/** Show notices in a root. */
export function mount(root) {
  on(["notice"], () => {
    const { notice } = get();
    root.hidden = notice === null;
    root.replaceChildren();
    if (notice === null) return;
    root.className = `notice ${notice.kind}`;
    root.setAttribute("role", notice.kind === "error" ? "alert" : "status");
    const close = () => set({ notice: null });
    root.append(
      el("p", {}, notice.text),
      el("button", { type: "button", class: "quiet", onclick: close, tLabel: "view.close" }, "×")
    );
  });
}
