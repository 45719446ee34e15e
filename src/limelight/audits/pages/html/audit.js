"use strict";
(() => {
  const list = document.getElementById("list");
  if (!list) return;
  const rows = document.getElementById("rows"), form = document.getElementById("filters");
  const count = document.getElementById("count"), HEIGHT = 76;
  const get = (name) => form.elements.namedItem(name);
  let photos = null, thumbs = {}, matching = [], lowered = [], loading = null;

  const unpack = async () => {
    const packed = document.getElementById("packed").textContent;
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    photos = JSON.parse(await new Response(stream).text());
    lowered = photos.photo.map((path) => (photos.folder + path).toLowerCase());
    thumbs = JSON.parse(document.getElementById("thumbs").textContent);
    const fill = (name, names, used) => {
      for (const number of used) get(name).add(new Option(names[number] || get(name).dataset.none || "none", number));
      get(name).classList.toggle("empty", used.length < (name === "evidence" ? 1 : 2));
    };
    const used = (column) => [...new Set(column)].sort((a, b) => a - b);
    get("status").dataset.none = "has a map";
    get("label").dataset.none = "not known";
    fill("label", photos.classes, used(photos.label));
    fill("predicted", photos.classes, used(photos.predicted));
    fill("evidence", photos.kinds, [...photos.kinds.keys()]);
    fill("case", photos.cases, used(photos.case));
    fill("status", photos.statuses, used(photos.status));
    filter();
  };
  // The list is unpacked when it comes near the screen, or when it is asked for.
  const load = () => (loading ??= unpack().catch((error) => {
    count.textContent = `This browser cannot unpack the list (${error.message}); lists/photos.csv has all photos.`;
  }));

  const filter = () => {
    const wanted = ["label", "predicted", "right", "case", "status"]
      .filter((name) => get(name).value !== "").map((name) => [photos[name], Number(get(name).value)]);
    const kind = get("evidence").value === "" ? null : Number(get("evidence").value);
    const text = get("text").value.trim().toLowerCase(), order = Number(get("order").value);
    matching = [];
    for (let each = 0; each < photos.row.length; each += 1) {
      if (wanted.some(([column, value]) => column[each] !== value)) continue;
      if (kind !== null && !photos.evidence[each].includes(kind)) continue;
      if (text && !lowered[each].includes(text)) continue;
      matching.push(each);
    }
    if (order) matching.sort((a, b) => order * (photos.probability[a] - photos.probability[b]));
    rows.style.height = `${matching.length * HEIGHT}px`;
    list.setAttribute("aria-rowcount", matching.length);
    list.scrollTop = 0;
    const number = (value) => value.toLocaleString("en");
    count.textContent = `${number(matching.length)} of ${number(photos.row.length)} photos listed here.`;
    draw();
  };

  const make = (kind, name, text) => {
    const node = document.createElement(kind);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const cell = (name) => {
    const node = make("div", name);
    node.setAttribute("role", "cell");
    return node;
  };
  const picture = (each) => {
    const frame = make("span", "photo"), thumb = thumbs[photos.row[each]];
    if (!thumb) { frame.append(make("span", "gone", "no picture in this file")); return frame; }
    for (const [place, source] of thumb.entries()) {
      if (!source) continue;
      const image = make("img", place ? "heat" : "");
      image.src = source;
      image.alt = "";
      frame.append(image);
    }
    return frame;
  };
  const drawRow = (place) => {
    const each = matching[place], row = make("div", "row");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", place + 1);
    row.style.top = `${place * HEIGHT}px`;
    const shown = cell("thumb"), path = cell("path"), said = cell("said"), kinds = cell("kindof");
    shown.append(picture(each));
    path.textContent = photos.photo[each];
    path.title = photos.folder + photos.photo[each];
    const right = photos.right[each];
    if (right >= 0) said.append(make("b", right ? "right" : "wrong", right ? "✓ right " : "✗ wrong "));
    if (photos.classes[photos.label[each]]) said.append(make("span", "", `true: ${photos.classes[photos.label[each]]} `));
    const sure = photos.probability[each] < 0 ? "" : ` ${photos.probability[each]}%`;
    if (photos.classes[photos.predicted[each]]) said.append(make("span", "", `said: ${photos.classes[photos.predicted[each]]}${sure}`));
    const parts = photos.evidence[each].map((kind) => photos.kinds[kind]);
    if (photos.cases[photos.case[each]]) parts.push(photos.cases[photos.case[each]]);
    if (photos.statuses[photos.status[each]]) parts.push(photos.statuses[photos.status[each]]);
    kinds.textContent = parts.join(" · ");
    row.append(shown, path, said, kinds);
    return row;
  };
  const draw = () => {
    if (!photos) return;
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
    const last = Math.min(matching.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 4);
    const nodes = [];
    for (let place = first; place < last; place += 1) nodes.push(drawRow(place));
    rows.replaceChildren(...nodes);
  };

  let waiting = 0;
  list.addEventListener("scroll", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); }, { passive: true });
  addEventListener("resize", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => load().then(() => photos && filter()));
  form.addEventListener("reset", () => setTimeout(() => load().then(() => photos && filter())));
  form.addEventListener("focusin", load, { once: true });
  new IntersectionObserver((seen, observer) => {
    if (!seen.some((each) => each.isIntersecting)) return;
    observer.disconnect();
    load();
  }, { rootMargin: "600px" }).observe(list);

  // Buttons of findings, evidence and cases set the filters.
  for (const button of document.querySelectorAll("button.find")) {
    button.addEventListener("click", async () => {
      await load();
      if (!photos) return;
      form.reset();
      const names = { evidence: photos.kinds, label: photos.classes, predicted: photos.classes, case: photos.cases };
      for (const [name, all] of Object.entries(names)) {
        if (!(name in button.dataset)) continue;
        const number = all.indexOf(button.dataset[name]);
        get(name).value = number < 0 ? "" : String(number);
      }
      filter();
      document.getElementById("photos").scrollIntoView();
      list.focus({ preventScroll: true });
    });
  }
})();
