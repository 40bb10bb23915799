// The charts of a sale, for a time that can be chosen.
import { withQuery } from "../api.js";
import { FIGURES, MOST_LINES } from "../figures.js";
import { toSale } from "../route.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { chart } from "./chart.js";
import { attribute, el, textIfAny } from "../shared/dom.js";
import { heading, link } from "./parts.js";

const EVERY = 5_000;
const SPANS = { 15: "15 minutes", 60: "1 hour", 360: "6 hours", 720: "12 hours" };

const spanOf = ({ query }) => (Object.hasOwn(SPANS, query.minutes) ? query.minutes : "15");

export function charts(route, life, sale) {
  let minutes = spanOf(route);
  const choices = el("nav", { class: "spans", "aria-label": "Time that the charts show" });
  for (const [span, name] of Object.entries(SPANS)) choices.append(link(toSale(sale, "overview", [], { minutes: span }), name));
  const mark = () =>
    [...choices.children].forEach((one, index) =>
      attribute(one, "aria-current", Object.keys(SPANS)[index] === minutes && "true"),
    );
  const error = el("p", { class: "error", hidden: true });
  const all = FIGURES.map((figure) => ({ ...figure, shown: chart(figure) }));
  const grid = el("div", { class: "charts" }, ...all.map(({ shown }) => shown.node));
  const read = async () => ({ span: minutes, history: await session.read(withQuery(`${sale.path}/history`, { minutes })) });
  const draw = ({ span, history }) => {
    if (span !== minutes) return;
    textIfAny(error, "");
    for (const { lines, shown } of all) shown.draw(dataOf(history, lines(history)));
  };
  mark();
  const poll = life.every(EVERY, read, draw, (refusal) => textIfAny(error, whyNot(refusal)));
  const hint = el(
    "p",
    { class: "hint" },
    "Point at a chart, or go to it by keyboard and press the arrow keys, to read the values of a time.",
  );
  return {
    node: el("section", { class: "part", "aria-labelledby": "charts-title" }, titled(), choices, hint, error, grid),
    turn(next) {
      if (spanOf(next) === minutes) return;
      minutes = spanOf(next);
      mark();
      poll.again();
    },
  };
}

function titled() {
  const title = heading(3, "Charts");
  title.id = "charts-title";
  return title;
}

function dataOf({ from, stepSeconds }, all) {
  const lines = all.slice(0, MOST_LINES);
  const length = Math.max(0, ...lines.map(({ values }) => values.length));
  return { from: Date.parse(from), step: stepSeconds * 1_000, lines, length, more: all.length - lines.length };
}
