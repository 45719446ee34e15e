/** The tabs of the panels: one is shown, arrows move between them. */

/** Panels that take the whole width: documents of their own. */
const WIDE = ["walkthrough", "audit"];

const opened = [];

/** Call a listener with the name of a panel whenever one is opened, and now with the open one. */
export function onPanel(listener) {
  opened.push(listener);
  const open = document.querySelector('#tabs [aria-selected="true"]');
  if (open) listener(nameOf(open));
}

/** Open a panel: "probe", "trust", "out", "walkthrough" or "audit". */
export function openPanel(name) {
  for (const tab of tabs()) {
    const chosen = nameOf(tab) === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  document.getElementById("page").classList.toggle("wide", WIDE.includes(name));
  for (const listener of opened) listener(name);
}

/** Let the tabs work. */
export function mount(root) {
  root.addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) openPanel(nameOf(tab));
  });
  root.addEventListener("keydown", (event) => {
    const all = tabs().filter((tab) => !tab.hidden);
    const now = all.indexOf(document.activeElement);
    const steps = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: all.length - 1 };
    if (now < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = all[(steps[event.key] + all.length) % all.length];
    openPanel(nameOf(next));
    next.focus();
  });
  openPanel("probe");
}

function tabs() {
  return [...document.querySelectorAll('#tabs [role="tab"]')];
}

function nameOf(tab) {
  return tab.id.replace("tab-", "");
}
