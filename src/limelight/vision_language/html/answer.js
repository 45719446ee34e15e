"use strict";
(() => {
  const { words, colours, separator } = JSON.parse(document.getElementById("maps").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const palette = bytes(colours);  // red, green, blue and opacity of 256 heats
  for (const word of words) for (const map of word?.maps ?? []) map.heat = bytes(map.data);

  const pictures = [...document.querySelectorAll(".picture")];
  const buttons = [...document.querySelectorAll("button.word")];
  const panels = [...document.querySelectorAll(".panel")];
  const opacity = document.getElementById("opacity");
  const here = document.querySelector(".here output"), hint = here.textContent;

  // The heat between the centres of the cells is on straight lines, and colours come after.
  const between = (length, count) => Array.from({ length }, (_, place) => {
    const at = Math.max(0, Math.min(count - 1, ((place + 0.5) * count) / length - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(low + 1, count - 1), at - low];
  });
  const draw = (picture, map) => {
    const canvas = picture.querySelector("canvas"), photo = picture.querySelector("img");
    const scale = Math.min(1, 640 / Math.max(photo.width, photo.height, 1));
    const [wide, high] = [photo.getAttribute("width"), photo.getAttribute("height")]
      .map((side) => Math.max(1, Math.round(scale * side)));
    canvas.width = wide;
    canvas.height = high;
    if (!map) return;
    const pencil = canvas.getContext("2d"), drawn = pencil.createImageData(wide, high);
    const across = between(wide, map.columns), strength = opacity.value / 100;
    between(high, map.rows).forEach(([above, below, down], y) => {
      const [top, bottom] = [above * map.columns, below * map.columns];
      across.forEach(([left, right, along], x) => {
        const first = map.heat[top + left] * (1 - along) + map.heat[top + right] * along;
        const second = map.heat[bottom + left] * (1 - along) + map.heat[bottom + right] * along;
        const colour = 4 * Math.round(first * (1 - down) + second * down), pixel = 4 * (y * wide + x);
        for (let part = 0; part < 3; part += 1) drawn.data[pixel + part] = palette[colour + part];
        drawn.data[pixel + 3] = strength * palette[colour + 3];
      });
    });
    pencil.putImageData(drawn, 0, 0);
  };

  let chosen = null, shown;
  const show = (word) => {
    if (word === shown) return;
    shown = word;
    redraw();
    rest();
    for (const panel of panels) panel.classList.toggle("shown", panel.dataset.panel === (word ?? undefined));
  };
  const rest = () => {
    here.textContent = buttons.find((each) => each.dataset.word === shown)?.getAttribute("aria-label") ?? hint;
  };
  const redraw = () => pictures.forEach((picture, photo) => draw(picture, words[shown]?.maps[photo]));
  const choose = (button) => {
    chosen = button?.dataset.word ?? null;
    for (const each of buttons) {
      each.setAttribute("aria-pressed", each === button);
      each.tabIndex = each === (button ?? buttons[0]) ? 0 : -1;
    }
    show(chosen);
  };

  // Words: a click or an arrow chooses one, pointing shows it for as long as it lasts.
  const right = (from) => (getComputedStyle(from.parentNode).direction === "rtl" ? -1 : 1);
  const line = (from, way) => {
    const middle = (each) => each.offsetLeft + each.offsetWidth / 2;
    const away = (each) => way * (each.offsetTop - from.offsetTop);
    const there = buttons.filter((each) => away(each) > from.offsetHeight / 2);
    const nearest = Math.min(...there.map(away));
    return there.filter((each) => away(each) < nearest + from.offsetHeight / 2)
      .sort((a, b) => Math.abs(middle(a) - middle(from)) - Math.abs(middle(b) - middle(from)))[0];
  };
  const steps = {
    ArrowRight: (from) => buttons[buttons.indexOf(from) + right(from)],
    ArrowLeft: (from) => buttons[buttons.indexOf(from) - right(from)],
    ArrowDown: (from) => line(from, 1),
    ArrowUp: (from) => line(from, -1),
    Home: () => buttons[0],
    End: () => buttons.at(-1),
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.word === chosen ? null : button));
    button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(button.dataset.word));
    button.addEventListener("pointerleave", () => show(chosen));
    button.addEventListener("keydown", (event) => {
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = steps[event.key](button);
      if (!next) return;
      choose(next);
      next.focus();
    });
  }
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") { dim(); choose(null); }
  });

  // The photo: the words whose maps are hot at a place light up.
  const heatAt = (map, x, y) =>
    map.heat[Math.floor(y * map.rows) * map.columns + Math.floor(x * map.columns)] / 255;
  const dim = () => {
    for (const each of buttons) { each.classList.remove("looked", "lit"); each.style.removeProperty("--lit"); }
    for (const picture of pictures) picture.querySelector(".spot").style.display = "none";
    rest();
  };
  const light = (picture, x, y, { spoken }) => {
    dim();
    const looked = [];
    for (const button of buttons) {
      const heat = heatAt(words[button.dataset.word].maps[picture.dataset.photo], x, y);
      if (heat < 0.15) continue;
      button.style.setProperty("--lit", heat);
      button.classList.add("looked", ...(heat < 0.5 ? [] : ["lit"]));
      looked.push([heat, button.querySelector(".text").textContent]);
    }
    looked.sort(([a], [b]) => b - a);
    here.setAttribute("aria-live", spoken ? "polite" : "off");
    here.textContent = looked.length ? here.dataset.looked : here.dataset.nobody;
    looked.slice(0, 8).forEach(([heat, text], rank) => {
      const name = document.createElement("b");
      name.textContent = text;
      here.append(rank ? separator : "", name, ` ${Math.round(100 * heat)}%`);
    });
    const spot = picture.querySelector(".spot");
    Object.assign(spot.style, { display: spoken ? "block" : "none", left: `${100 * x}%`, top: `${100 * y}%` });
  };
  const inside = (share) => Math.max(0, Math.min(0.9999, share));
  for (const picture of pictures) {
    let place = [0.5, 0.5];
    const point = (event) => {
      const box = picture.getBoundingClientRect();
      place = [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
      light(picture, ...place, { spoken: event.pointerType !== "mouse" });
    };
    picture.addEventListener("pointermove", point);
    picture.addEventListener("pointerdown", point);
    picture.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && dim());
    picture.addEventListener("blur", dim);
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    picture.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const step = event.shiftKey ? 0.1 : 0.025;
      place = place.map((share, axis) => inside(share + step * move[axis]));
      light(picture, ...place, { spoken: true });
    });
    picture.addEventListener("focus", () => picture.matches(":focus-visible") && light(picture, ...place, { spoken: true }));
  }

  opacity.addEventListener("input", redraw);
  document.getElementById("sinks")?.addEventListener("change", (event) => {
    document.querySelector(".photos").classList.toggle("bare", !event.target.checked);
  });
  choose(buttons.find((each) => "first" in each.dataset) ?? buttons[0]);
})();
