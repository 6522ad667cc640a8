"use strict";

// A trace's map over the picture, one colour a patch.

// From dark violet over red to pale yellow: brightness rises evenly, so that it reads without colours too.
const STOPS = [[26, 12, 64], [92, 22, 110], [160, 42, 99], [219, 80, 66], [249, 145, 34], [250, 212, 80], [252, 253, 191]];
const COLOURS = Array.from({ length: 256 }, (_, level) => {
  const place = Math.min(1, level / 254) * (STOPS.length - 1);
  const [from, to] = [STOPS[Math.floor(place)], STOPS[Math.ceil(place)]];
  return from.map((channel, index) => Math.round(channel + (to[index] - channel) * (place % 1)));
});

const STEPS = 254;
const HOLE = 255; // a patch without a number

const valueAt = (map, index) => (map.levels[index] === HOLE ? null : map.low + (map.levels[index] / STEPS) * (map.high - map.low));

function paint(canvas, map) {
  canvas.width = map.columns;
  canvas.height = map.rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(map.columns, map.rows);
  map.levels.forEach((level, index) => image.data.set([...COLOURS[level], level === HOLE ? 0 : 255], 4 * index));
  context.putImageData(image, 0, 0);
}

// A figure of one map over a picture (an address, or null), with its range and the value under the pointer.
function overlayFigure(caption, map, picture, opacity) {
  const known = Array.from(map.levels, (_, index) => valueAt(map, index)).filter((value) => value !== null);
  const mean = known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  const about = `${figure(map.low)} to ${figure(map.high)}, mean ${figure(mean)}, ${map.rows} × ${map.columns} patches`;
  const canvas = make("canvas", { class: "map", role: "img", "aria-label": `Map ${map.name}: ${about}` });
  paint(canvas, map);
  canvas.style.opacity = picture ? opacity : 1;
  const stage = make("div", { class: "stage" }, ...(picture ? [make("img", { src: picture, alt: "" })] : []), canvas);
  if (!picture) stage.style.aspectRatio = `${map.columns} / ${map.rows}`;
  const reading = make("span", { class: "reading" }, about);
  canvas.addEventListener("pointermove", (event) => {
    const column = Math.min(map.columns - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * map.columns)));
    const row = Math.min(map.rows - 1, Math.max(0, Math.floor((event.offsetY / canvas.clientHeight) * map.rows)));
    reading.textContent = `row ${row + 1}, column ${column + 1}: ${figure(valueAt(map, row * map.columns + column))}`;
  });
  canvas.addEventListener("pointerleave", () => (reading.textContent = about));
  const bar = make("canvas", { class: "legend", "aria-hidden": "true" });
  paint(bar, { rows: 1, columns: HOLE, levels: Uint8Array.from({ length: HOLE }, (_, level) => level) });
  const range = make("div", { class: "legend-row", "aria-hidden": "true" }, figure(map.low), bar, figure(map.high));
  return make("figure", {}, stage, range, make("figcaption", {}, caption, " ", reading));
}
