// Draws the lines of a chart with its axes into an SVG.
import { clockTime } from "../format.js";
import { numberTicks, timeTicks } from "../ticks.js";
import { replace, svg } from "../shared/dom.js";

const HEIGHT = 200;
const MARGIN = { top: 10, right: 12, bottom: 24 };
const SHAPES = [
  "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
  "M-3.2-3.2h6.4v6.4h-6.4z",
  "M0-4.2 4 3.2h-8z",
  "M0-4.5 4.5 0 0 4.5-4.5 0z",
  "M-1-4h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
  "M0 4.2 4-3.2h-8z",
];

const shapeOf = (index) => SHAPES[index % SHAPES.length];

// Each line has a colour, a pattern of dashes and a shape of its own.
export const styleOf = (index) => `line line-${index % SHAPES.length}`;

// Where a value or a time is in the picture.
export function scales({ width, from, step, length, highest, format, isWhole }) {
  const all = numberTicks(highest);
  const ticks = isWhole ? all.filter(Number.isInteger) : all;
  const top = all.at(-1);
  const longest = Math.max(...ticks.map((tick) => format(tick).length));
  const left = 10 + longest * 7;
  const wide = Math.max(40, width - left - MARGIN.right);
  const high = HEIGHT - MARGIN.top - MARGIN.bottom;
  const last = Math.max(1, length - 1);
  return {
    ticks,
    left,
    wide,
    width,
    height: HEIGHT,
    bottom: HEIGHT - MARGIN.bottom,
    x: (index) => left + (wide * index) / last,
    y: (value) => MARGIN.top + high * (1 - value / top),
    indexAt: (x) => Math.min(last, Math.max(0, Math.round(((x - left) / wide) * last))),
    times: timeTicks(from, from + last * step, Math.max(2, Math.floor(wide / 75))).map((at) => ({
      at,
      x: left + (wide * (at - from)) / (last * step),
    })),
  };
}

export function plot(picture, scale, lines, format) {
  picture.setAttribute("viewBox", `0 0 ${scale.width} ${scale.height}`);
  picture.setAttribute("width", scale.width);
  picture.setAttribute("height", scale.height);
  replace(picture, ...axes(scale, format), ...lines.map(({ values }, index) => line(scale, values, index)));
}

function axes({ ticks, left, wide, bottom, y, times }, format) {
  const across = ticks.map((tick) =>
    svg("line", { class: tick === 0 ? "axis" : "grid", x1: left, x2: left + wide, y1: y(tick), y2: y(tick) }),
  );
  const numbers = ticks.map((tick) => svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  const marks = times.map(({ x }) => svg("line", { class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
  const labels = times.map(({ at, x }) => svg("text", { x, y: bottom + 18, "text-anchor": "middle" }, clockTime(at)));
  return [...across, ...numbers, ...marks, ...labels];
}

// A line is interrupted where nothing is known. A value between two gaps is a point of its own.
function line({ x, y }, values, index) {
  let path = "";
  const alone = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const isFirst = at === 0 || values[at - 1] === null;
    const isLast = at === values.length - 1 || values[at + 1] === null;
    if (isFirst && isLast) alone.push(at);
    path += `${isFirst ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  const every = Math.max(1, Math.floor(values.length / 5));
  const marked = values
    .map((_, at) => at)
    .filter((at) => values[at] !== null && (alone.includes(at) || (at + index * 5) % every === every >> 1));
  const shapes = marked.map((at) => shape(index, x(at), y(values[at])));
  return svg("g", { class: styleOf(index) }, svg("path", { class: "stroke", d: path }), ...shapes);
}

export const shape = (index, x, y) =>
  svg("path", { class: "shape", d: shapeOf(index), transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });

// The upright line and the points of the time that is read.
export function cursor({ x, y, bottom }, lines, index) {
  const upright = svg("line", { class: "cursor", x1: x(index), x2: x(index), y1: MARGIN.top, y2: bottom });
  const points = lines.map(({ values }, at) => {
    const value = values[index];
    return value === null || value === undefined ? null : svg("g", { class: styleOf(at) }, shape(at, x(index), y(value)));
  });
  return svg("g", { class: "reading" }, upright, ...points.filter(Boolean));
}
