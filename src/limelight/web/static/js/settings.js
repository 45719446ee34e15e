/** The network, the language, and light or dark: the settings in the head of the page. */

import { el } from "./dom.js";
import { tellError } from "./notices.js";
import { useNetwork } from "./requests.js";
import { get, on, set } from "./store.js";
import { loadTexts, t, translate } from "./texts.js";

const THEMES = ["auto", "light", "dark"];

/** Return the language that the reader chose last; "" for that of the browser. */
export function rememberedLanguage() {
  return remembered("language") ?? "";
}

/** Let the settings work. */
export function mount(root) {
  const [network, theme, language] = ["network", "theme", "language"].map((id) =>
    root.querySelector(`#${id}`)
  );
  const { networks } = get().page;
  network.append(...networks.map((name) => el("option", { value: name }, name)));
  network.closest("label").hidden = networks.length < 2;
  network.addEventListener("change", async () => {
    if (!(await useNetwork(network.value))) network.value = get().network?.name ?? "";
  });
  on(["network"], () => (network.value = get().network.name));

  language.addEventListener("click", async () => {
    try {
      const name = await loadTexts(get().language === "en" ? "zh" : "en");
      remember("language", name);
      translate(document);
      set({ language: name });
    } catch (error) {
      tellError(error);
    }
  });

  const showTheme = (name) => {
    document.documentElement.dataset.theme = name;
    theme.replaceChildren(el("span", { class: `theme-${name}` }));
    theme.title = `${t("view.theme")}: ${t(`view.theme-${name}`)}`;
    theme.setAttribute("aria-label", theme.title);
  };
  const kept = remembered("theme");
  showTheme(THEMES.includes(kept) ? kept : "auto");
  on(["language"], () => showTheme(document.documentElement.dataset.theme));
  theme.addEventListener("click", () => {
    const now = THEMES.indexOf(document.documentElement.dataset.theme);
    const next = THEMES[(now + 1) % THEMES.length];
    remember("theme", next);
    showTheme(next);
  });
}

/** A frame in a notebook may not keep anything: then nothing is remembered. */
function remembered(name) {
  try {
    return localStorage.getItem(`limelight-${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`limelight-${name}`, value);
  } catch {
    // Chosen for this time only.
  }
}
