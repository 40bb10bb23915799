// A chart: its picture, its legend, what it says at a time that is pointed at, and the same as a table.
import { counted, time } from "../format.js";
import { el, list, put, replace, svg, text, textIfAny } from "../shared/dom.js";
import { heading, moment } from "./parts.js";
import { cursor, plot, scales, shape, styleOf } from "./plot.js";
import { table } from "./table.js";

const MOST_ROWS = 60;

const latest = (values) => values.findLast((value) => value !== null) ?? null;
const highest = (values) => values.reduce((most, value) => (value !== null && value > most ? value : most), 0);

export function chart({ title, format, isWhole }) {
  const picture = svg("svg", { "aria-hidden": "true", focusable: "false" });
  const slider = el(
    "div",
    {
      class: "plot",
      role: "slider",
      tabindex: "0",
      "aria-label": `${title}: a point in time`,
      "aria-valuemin": "0",
      "aria-valuenow": "0",
      hidden: true,
    },
    picture,
  );
  const summary = el("p", { class: "for-readers" });
  const reading = el("p", { class: "reading-line", "aria-hidden": "true" });
  const none = el("p", { class: "hint", hidden: true }, "Nothing is known about this yet.");
  const legend = el("ul", { class: "legend" });
  const more = el("p", { class: "hint", hidden: true });
  const numbers = asTable(title, format);
  const node = el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, heading(4, title), summary),
    reading,
    none,
    slider,
    legend,
    more,
    numbers.node,
  );
  const state = { data: null, scale: null, index: null };

  const redraw = () => {
    if (!state.data || picture.parentNode.clientWidth === 0) return;
    const { from, step, lines, length } = state.data;
    const most = Math.max(...lines.map(({ values }) => highest(values)), isWhole ? 4 : 0);
    state.scale = scales({ width: slider.clientWidth, from, step, length, highest: most, format, isWhole });
    plot(picture, state.scale, lines, format);
    read(state.index);
  };

  function read(index) {
    const { lines, from, step, length } = state.data;
    state.index = index === null ? null : Math.min(length - 1, Math.max(0, index));
    const at = state.index ?? length - 1;
    const sentence = said(new Date(from + at * step).toISOString(), lines, at, format);
    picture.querySelector(".reading")?.remove();
    if (state.index !== null) picture.append(cursor(state.scale, lines, at));
    text(reading, state.index === null ? "Latest values" : `At ${time(new Date(from + at * step).toISOString())}`);
    drawLegend(legend, lines, state.index, format);
    slider.setAttribute("aria-valuemax", length - 1);
    slider.setAttribute("aria-valuenow", at);
    slider.setAttribute("aria-valuetext", sentence);
  }

  listen(slider, state, read);
  new ResizeObserver(redraw).observe(slider);
  return {
    node,
    draw(data) {
      const isEmpty = data.lines.every(({ values }) => latest(values) === null);
      none.hidden = !isEmpty;
      for (const part of [slider, legend, numbers.node, reading]) part.hidden = isEmpty;
      textIfAny(
        more,
        isEmpty || data.more === 0 ? "" : `${counted(data.more, "line")} more ${data.more === 1 ? "is" : "are"} not shown.`,
      );
      state.data = isEmpty ? null : data;
      text(summary, isEmpty ? "" : summed(data, format));
      numbers.draw(data);
      redraw();
    },
  };
}

function said(at, lines, index, format) {
  const values = lines.map(({ name, values }) => `${name} ${values[index] === null ? "not known" : format(values[index])}`);
  return `${time(at)}: ${values.join(", ")}`;
}

function summed({ lines }, format) {
  const known = lines.filter(({ values }) => latest(values) !== null);
  const parts = known.map(({ name, values }) => `${name} ${format(latest(values))}, at the most ${format(highest(values))}`);
  return `The latest values: ${parts.join("; ")}.`;
}

// The legend has the values of the time that is read, or the latest ones.
function drawLegend(legend, lines, at, format) {
  const keyed = lines.map(({ name, values }, index) => ({
    name,
    index,
    value: at === null ? latest(values) : (values[at] ?? null),
  }));
  const update = (item, line) => put(item, entry(line, format));
  list(
    legend,
    keyed,
    ({ name, index }) => `${index} ${name}`,
    () => el("li"),
    update,
  );
}

function entry({ name, value, index }, format) {
  const sample = svg("svg", { class: "sample", "aria-hidden": "true", viewBox: "0 0 34 12", width: 34, height: 12 });
  sample.append(svg("g", { class: styleOf(index) }, svg("path", { class: "stroke", d: "M1 6h32" }), shape(index, 17, 6)));
  return el("span", {}, sample, ` ${name} `, el("b", {}, value === null ? "–" : format(value)));
}

// A pointer over the picture, or the arrow keys, say which time is read.
function listen(slider, state, read) {
  const keys = {
    ArrowLeft: -1,
    ArrowDown: -1,
    ArrowRight: 1,
    ArrowUp: 1,
    PageUp: -10,
    PageDown: 10,
    Home: -Infinity,
    End: Infinity,
  };
  slider.addEventListener("keydown", (event) => {
    const by = keys[event.key];
    if (by === undefined || !state.scale) return;
    event.preventDefault();
    read((state.index ?? state.data.length - 1) + by);
  });
  slider.addEventListener("pointermove", ({ clientX }) => {
    if (state.data && state.scale) read(state.scale.indexAt(clientX - slider.getBoundingClientRect().left));
  });
  const forget = () => state.data && state.scale && read(null);
  slider.addEventListener("pointerleave", () => document.activeElement !== slider && forget());
  slider.addEventListener("blur", forget);
}

// The numbers themselves. The table is made when somebody opens it.
function asTable(title, format) {
  const place = el("div");
  const node = el("details", {}, el("summary", {}, "Show as a table"), place);
  let data = null;
  let made = null;
  const draw = () => {
    if (!node.open || !data) return;
    const names = data.lines.map(({ name }) => name).join("\n");
    if (made?.names !== names) {
      made = {
        names,
        shown: table({ caption: title, columns: columns(data.lines, format), keyOf: ({ at }) => at, isQuiet: true }),
      };
      replace(place, made.shown.node);
    }
    made.shown.draw(rows(data));
  };
  node.addEventListener("toggle", draw);
  return {
    node,
    draw(next) {
      data = next;
      draw();
    },
  };
}

function columns(lines, format) {
  const write = (value) => (value === null ? "–" : format(value));
  const each = lines.map(({ name }, index) => ({ head: name, number: true, cell: ({ values }) => write(values[index]) }));
  return [{ head: "Time", cell: ({ at }) => moment(at) }, ...each];
}

// The newest first, and not more than people read.
function rows({ from, step, lines, length }) {
  const every = Math.max(1, Math.ceil(length / MOST_ROWS));
  const found = [];
  for (let index = length - 1; index >= 0; index -= every) {
    found.push({ at: new Date(from + index * step).toISOString(), values: lines.map(({ values }) => values[index] ?? null) });
  }
  return found;
}
