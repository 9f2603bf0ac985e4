"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("map"), tip = document.getElementById("tip"), find = document.getElementById("find");
  const pen = canvas.getContext("2d");
  const films = data.x.length, CELLS = 96, MARGIN = 26, NEAR = 9, MOST = 400;
  const has = (mask, genre) => Math.floor(mask / 2 ** genre) % 2 === 1; // masks are longer than the 32 bits of &
  const chosen = new Set();
  let shown = Array.from({ length: films }, (_, film) => film), found = new Set(), hovered = -1;
  let view = { scale: 1, x: 0, y: 0 }, size = { width: 1, height: 1, ratio: 1 }, colours = [], waiting = false;

  // --- places ---

  const fit = () => ({ width: size.width - 2 * MARGIN, height: size.height - 2 * MARGIN });
  const placeX = film => (MARGIN + data.x[film] / data.steps * fit().width) * view.scale + view.x;
  const placeY = film => (MARGIN + (1 - data.y[film] / data.steps) * fit().height) * view.scale + view.y;

  const cells = Array.from({ length: CELLS * CELLS }, () => []);
  const cellOf = value => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
  for (let film = 0; film < films; film++) {
    cells[cellOf(data.y[film] / data.steps) * CELLS + cellOf(data.x[film] / data.steps)].push(film);
  }

  /** The film nearest to a place of the canvas, within reach; -1 where there is none. */
  function nearest(x, y) {
    const { width, height } = fit(), reach = NEAR / view.scale;
    const toX = at => ((at - view.x) / view.scale - MARGIN) / width, toY = at => 1 - ((at - view.y) / view.scale - MARGIN) / height;
    const [left, right] = [toX(x) - reach / width, toX(x) + reach / width].map(cellOf);
    const [low, high] = [toY(y) - reach / height, toY(y) + reach / height].map(cellOf);
    let best = -1, distance = NEAR * NEAR;
    for (let row = low; row <= high; row++) {
      for (let column = left; column <= right; column++) {
        for (const film of cells[row * CELLS + column]) {
          if (!visible(film)) continue;
          const there = (placeX(film) - x) ** 2 + (placeY(film) - y) ** 2;
          if (there < distance) [best, distance] = [film, there];
        }
      }
    }
    return best;
  }

  const visible = film => {
    if (!chosen.size) return true;
    for (const genre of chosen) if (has(data.mask[film], genre)) return true;
    return false;
  };

  // --- drawing ---

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const named = name => style.getPropertyValue(name).trim();
    colours = { plain: named("--plain"), ink: named("--ink"), paper: named("--paper") };
    for (let number = 0; number < data.coloured; number++) colours[number] = named(`--c${number}`);
  }

  function draw() {
    waiting = false;
    const { width, height, ratio } = size;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const radius = Math.min(5, Math.max(1.2, 80 / Math.sqrt(shown.length)) * view.scale ** 0.35);
    const faint = found.size ? 0.16 : Math.max(0.5, Math.min(0.85, 60 / Math.sqrt(shown.length)));
    pen.globalAlpha = faint;
    for (let number = -1; number < data.coloured; number++) {
      pen.fillStyle = number < 0 ? colours.plain : colours[number];
      for (const film of shown) if ((data.colour[film] ?? -1) === number) dot(film, radius);
    }
    pen.globalAlpha = 1;
    for (const film of found) mark(film, Math.max(4, radius + 1));
    if (hovered >= 0) mark(hovered, Math.max(5, radius + 2));
  }

  function dot(film, radius) {
    const x = placeX(film), y = placeY(film);
    if (x < -9 || y < -9 || x > size.width + 9 || y > size.height + 9) return;
    if (radius < 1.8) return pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius); // no circle to the eye
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  }

  function mark(film, radius) {
    pen.beginPath();
    pen.arc(placeX(film), placeY(film), radius, 0, 7);
    pen.fillStyle = data.colour[film] === null ? colours.plain : colours[data.colour[film]];
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = colours.ink;
    pen.stroke();
  }

  function redraw() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function resize() {
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    size = { width: box.width, height: box.height, ratio };
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    draw(); // at once: a canvas of another size is empty
  }

  // --- moving ---

  function zoom(factor, x = size.width / 2, y = size.height / 2) {
    const scale = Math.min(200, Math.max(0.7, view.scale * factor)), by = scale / view.scale;
    view = { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    hover(-1);
    redraw();
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    redraw();
  }

  function reset() {
    view = { scale: 1, x: 0, y: 0 };
    hover(-1);
    redraw();
  }

  const fingers = new Map();
  const at = event => { const box = canvas.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  const apart = ([one, two]) => Math.hypot(one.x - two.x, one.y - two.y);

  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const { x, y } = at(event);
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
  }, { passive: false });
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    canvas.classList.add("dragged");
    hover(nearest(at(event).x, at(event).y));
  });
  canvas.addEventListener("pointermove", event => {
    const here = at(event), before = fingers.get(event.pointerId);
    if (!before) return hover(nearest(here.x, here.y));
    const old = [...fingers.values()];
    fingers.set(event.pointerId, here);
    const now = [...fingers.values()];
    if (now.length === 2 && apart(old) > 0) zoom(apart(now) / apart(old), (now[0].x + now[1].x) / 2, (now[0].y + now[1].y) / 2);
    else if (Math.hypot(here.x - before.x, here.y - before.y) > 0) { hover(-1); move(here.x - before.x, here.y - before.y); }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, event => {
      fingers.delete(event.pointerId);
      if (!fingers.size) canvas.classList.remove("dragged");
    });
  }
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("dblclick", event => zoom(2.5, at(event).x, at(event).y));
  canvas.addEventListener("keydown", event => {
    const step = 60, keys = {
      ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(0.625), Escape: reset, 0: reset,
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => Number(button.dataset.zoom) ? zoom(Number(button.dataset.zoom)) : reset());
  }

  // --- words ---

  function hover(film) {
    if (film === hovered) return;
    hovered = film;
    tip.hidden = film < 0;
    redraw();
    if (film < 0) return;
    const genres = data.genres.filter((_, genre) => has(data.mask[film], genre)).join(", ");
    tip.replaceChildren(data.title[film] + (data.year[film] === null ? "" : ` (${data.year[film]})`), small(genres));
    const x = placeX(film), y = placeY(film), wide = tip.offsetWidth, high = tip.offsetHeight;
    tip.style.left = `${Math.max(6, Math.min(x + 14, size.width - wide - 6))}px`;
    tip.style.top = `${y + 14 + high > size.height ? Math.max(6, y - 14 - high) : y + 14}px`;
  }

  function small(text) {
    const element = document.createElement("small");
    element.textContent = text;
    return element;
  }

  function count() {
    const words = [`${shown.length.toLocaleString("en")} films shown`];
    if (find.value.trim()) words.push(found.size >= MOST ? `the first ${MOST} of that title marked` : `${found.size} of that title marked`);
    document.getElementById("count").textContent = words.join(", ");
  }

  function choose() {
    shown = [];
    for (let film = 0; film < films; film++) if (visible(film)) shown.push(film);
    search();
  }

  function search() {
    const wanted = find.value.trim().toLowerCase();
    found = new Set();
    if (wanted.length > 1) {
      for (const film of shown) {
        if (data.title[film].toLowerCase().includes(wanted)) found.add(film);
        if (found.size >= MOST) break;
      }
    }
    hover(found.size === 1 ? [...found][0] : -1);
    count();
    redraw();
  }

  data.genres.forEach((name, genre) => {
    const button = document.createElement("button"), key = document.createElement("i"), many = document.createElement("b");
    key.style.background = genre < data.coloured ? `var(--c${genre})` : "var(--plain)";
    many.textContent = data.mask.reduce((sum, mask) => sum + has(mask, genre), 0).toLocaleString("en");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(key, name, many);
    button.addEventListener("click", () => {
      if (!chosen.delete(genre)) chosen.add(genre);
      button.setAttribute("aria-pressed", String(chosen.has(genre)));
      choose();
    });
    document.getElementById("genres").append(button);
  });

  find.addEventListener("input", search);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
  new ResizeObserver(resize).observe(canvas);
  readColours();
  resize();
  count();
})();
