"use strict";
(() => {
  const { maps, photo, colours, texts } = JSON.parse(document.getElementById("values").textContent);
  const get = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const tables = { heat: bytes(colours.heat), signed: bytes(colours.signed) };

  // Numbers are little-endian on every machine that reads them here, whatever its own order.
  const numbers = (text, read) => {
    const view = new DataView(bytes(text).buffer);
    return Float32Array.from({ length: view.byteLength / 2 }, (_, at) => read(view, 2 * at));
  };
  for (const map of maps) {
    map.heat = numbers(map.heatmap, (view, at) => view.getUint16(at, true) / 65535);
    map.values = numbers(map.signed, (view, at) => (map.largest * view.getInt16(at, true)) / 32767);
  }
  const told = (value) => {
    if (value === null) return "–";
    const size = Math.abs(value);
    const plain = value === 0 || (size >= 1e-3 && size < 1e4);
    return (plain ? String(+value.toPrecision(4)) : value.toExponential(2)).replaceAll("-", "−");
  };

  const [left, top, right, bottom] = photo.box;
  const place = (element) => {
    Object.assign(element.style, {
      left: `${(100 * left) / photo.width}%`,
      top: `${(100 * top) / photo.height}%`,
      width: `${(100 * (right - left)) / photo.width}%`,
      height: `${(100 * (bottom - top)) / photo.height}%`,
    });
  };
  const draw = (canvas, map, kind) => {
    canvas.width = map.columns;
    canvas.height = map.rows;
    const picture = new ImageData(map.columns, map.rows);
    const table = tables[kind];
    for (let at = 0; at < map.heat.length; at++) {
      const share = kind === "heat" ? map.heat[at] : (map.values[at] / (map.largest || 1) + 1) / 2;
      const colour = 3 * Math.round(255 * share);
      picture.data.set([table[colour], table[colour + 1], table[colour + 2], 255], 4 * at);
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  };

  let shown = maps[0];
  let at = null;
  const kind = () => document.querySelector("input[name=kind]:checked").value;
  // A map that shows nothing is not drawn as if it showed that nothing is hot.
  const opacity = (map) => (map.status.name === "ok" || kind() === "signed" ? get("opacity").value / 100 : 0);
  const stage = get("stage");

  const tell = () => {
    const [x, y] = at ?? [0, 0];
    for (const line of [get("row"), get("column")]) line.style.display = at ? "block" : "none";
    get("row").style.top = `${(100 * y) / photo.height}%`;
    get("column").style.left = `${(100 * x) / photo.width}%`;
    if (!at) return;
    const column = Math.floor((shown.columns * (x - left)) / (right - left));
    const row = Math.floor((shown.rows * (y - top)) / (bottom - top));
    const inside = column >= 0 && row >= 0 && column < shown.columns && row < shown.rows;
    const where = `${texts.at} ${Math.floor(x)}, ${Math.floor(y)} · `;
    const bold = document.createElement("b");
    const index = row * shown.columns + column;
    bold.textContent = inside ? told(shown.heat[index]) : texts.unseen;
    const raw = inside ? ` · ${texts.raw} ${told(shown.values[index])}` : "";
    get("value").replaceChildren(where, inside ? `${texts.heat} ` : "", bold, raw);
  };

  const show = () => {
    const map = shown;
    const { name, message } = map.status;
    draw(get("heat"), map, kind());
    get("heat").style.opacity = opacity(map);
    const bar = { rows: 1, columns: 256, largest: 1 };
    bar.heat = Float32Array.from({ length: 256 }, (_, step) => step / 255);
    bar.values = bar.heat.map((share) => 2 * share - 1);
    draw(get("bar"), bar, kind());
    get("low").textContent = kind() === "heat" ? "0" : told(-map.largest);
    get("high").textContent = kind() === "heat" ? "1" : told(map.largest);
    get("status").className = name === "ok" ? "ok" : "";
    get("status").textContent = name === "ok" ? texts.ok : message;
    for (const id of ["title", "label"]) get(id).textContent = map.label;
    get("score").textContent = told(map.score);
    get("method").textContent = map.method;
    get("layer").textContent = map.layer;
    get("grid").textContent = map.grid.join(" × ");
    get("reason").textContent = map.reason;
    for (const each of document.querySelectorAll(".other")) {
      const other = maps[each.dataset.number];
      each.setAttribute("aria-pressed", String(other === map));
      draw(each.querySelector("canvas"), other, kind());
      each.querySelector("canvas").style.opacity = opacity(other);
    }
    tell();
  };

  if (maps.length > 1) {
    const others = get("others");
    others.hidden = false;
    for (const [number, map] of maps.entries()) {
      const button = document.createElement("button");
      button.className = "other";
      button.dataset.number = number;
      const tile = document.createElement("span");
      const picture = document.createElement("img");
      picture.src = stage.querySelector("img").src;
      picture.alt = "";
      const canvas = document.createElement("canvas");
      place(canvas);
      tile.append(picture, canvas);
      const soft = document.createElement("em");
      soft.textContent = `${map.layer} · ${map.label} ${told(map.score)}`;
      button.append(tile, map.method, soft);
      button.addEventListener("click", () => { shown = map; show(); });
      others.append(button);
    }
  }

  const point = (event) => {
    const box = stage.getBoundingClientRect();
    at = [
      (photo.width * (event.clientX - box.left)) / box.width,
      (photo.height * (event.clientY - box.top)) / box.height,
    ];
    tell();
  };
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  stage.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const step = (event.shiftKey ? 0.1 : 0.01) * Math.max(photo.width, photo.height);
    const [x, y] = at ?? [photo.width / 2, photo.height / 2];
    at = [
      Math.max(0, Math.min(photo.width - 1, x + step * move[0])),
      Math.max(0, Math.min(photo.height - 1, y + step * move[1])),
    ];
    tell();
  });
  for (const input of document.querySelectorAll("input")) input.addEventListener("input", show);
  place(get("heat"));
  place(get("seen"));
  show();
})();
