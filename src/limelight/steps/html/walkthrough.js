"use strict";
(() => {
  // Every number of every map, bit for bit as it was computed.
  const packed = JSON.parse(document.getElementById("maps").textContent);
  const known = new Map();
  const values = (key) => {
    if (!known.has(key)) {
      const { data, type } = packed.maps[key];
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      known.set(key, type === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer));
    }
    return known.get(key);
  };
  const told = (value) => {
    const size = Math.abs(value);
    if (value === 0) return "0";
    const plain = !Number.isFinite(value) || (size >= 1e-3 && size < 1e4);
    const text = plain ? String(+value.toPrecision(4)) : value.toExponential(3);
    return text.replace("e+", "e").replaceAll("-", "−");
  };

  // The place on the grid of a cell of the picture, in which the slices of a volume stand in rows.
  const named = (grid, across, row, column) => {
    if (grid.length === 1) return String(column);
    if (grid.length === 2) return `${row}, ${column}`;
    // After the last slice of the last row there may be room left.
    const slice = Math.floor(row / grid[1]) * across + Math.floor(column / grid[2]);
    return slice < grid[0] ? `${slice}, ${row % grid[1]}, ${column % grid[2]}` : "";
  };
  const figures = [...document.querySelectorAll(".map")];
  const show = (from, row, column) => {
    const { step, across } = packed.maps[from.dataset.map];
    const place = named(from.dataset.grid.split(",").map(Number), across, row * step, column * step);
    for (const figure of figures) {
      const linked = place && figure.dataset.grid === from.dataset.grid;
      const mark = figure.querySelector(".mark");
      const out = figure.querySelector("output");
      mark.style.display = linked ? "block" : "none";
      if (!linked) { out.textContent = ""; continue; }
      const { rows, columns } = packed.maps[figure.dataset.map];
      const value = values(figure.dataset.map)[row * columns + column];
      mark.style.left = `${(100 * column) / columns}%`;
      mark.style.top = `${(100 * row) / rows}%`;
      mark.style.width = `max(6px, ${100 / columns}%)`;
      mark.style.height = `max(6px, ${100 / rows}%)`;
      const bold = document.createElement("b");
      bold.textContent = told(value);
      out.replaceChildren(figure === from ? `[${place}] ` : "", bold);
    }
  };
  const clamp = (number, most) => Math.max(0, Math.min(most - 1, number));
  for (const figure of figures) {
    const cells = figure.querySelector(".cells");
    const { rows, columns } = packed.maps[figure.dataset.map];
    let here = [0, 0];
    const go = (row, column) => {
      here = [clamp(row, rows), clamp(column, columns)];
      show(figure, ...here);
    };
    const point = (event) => {
      const box = cells.getBoundingClientRect();
      go(
        Math.floor((rows * (event.clientY - box.top)) / box.height),
        Math.floor((columns * (event.clientX - box.left)) / box.width),
      );
    };
    cells.addEventListener("pointermove", point);
    cells.addEventListener("pointerdown", point);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    figure.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      go(here[0] + move[0], here[1] + move[1]);
    });
  }

  // The table of all channels is long, so it is made when it is asked for.
  const all = document.getElementById("all");
  all.addEventListener("toggle", () => {
    const body = all.querySelector("tbody");
    if (!all.open || body.firstChild) return;
    const [weights, sums] = packed.listed.map(values);
    for (const [rank, channel] of packed.order.entries()) {
      const row = body.insertRow();
      for (const text of [rank + 1, channel, told(weights[channel]), told(sums[channel])]) {
        row.insertCell().textContent = text;
      }
    }
  });
})();
