// The story of a sale so far, newest first.
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { el, list, put, textIfAny } from "../shared/dom.js";
import { badge, distinct, heading, moment } from "./parts.js";

const EVERY = 5_000;

const kinds = {
  created: "Made",
  phase: "Phase",
  condition: "Condition",
  event: "Event",
  deed: "Deed",
  deadLetter: "Dead letter",
};

export function storyOf(life, sale) {
  const items = el("ol", { class: "story" });
  const none = el("p", { class: "hint" }, "Nothing has been told yet.");
  const error = el("p", { class: "error", hidden: true });
  const draw = ({ items: found }) => {
    textIfAny(error, "");
    none.hidden = found.length > 0;
    list(
      items,
      distinct(found, ({ at, kind, text }) => `${at} ${kind} ${text}`),
      ({ key }) => key,
      () => el("li"),
      (node, one) => put(node, told(one)),
    );
  };
  const read = () => session.read(`${sale.path}/story`);
  life.every(EVERY, read, draw, (refusal) => textIfAny(error, whyNot(refusal)));
  const region = el("div", { class: "scrolls tall", role: "region", "aria-label": "The story so far", tabindex: "0" }, items);
  return el("section", { class: "part" }, heading(3, "The story so far"), error, none, region);
}

function told({ at, kind, text, who, detail }) {
  const by = who ? [el("span", { class: "hint" }, ` by ${who}`)] : [];
  const more = detail ? [el("p", { class: "hint" }, detail)] : [];
  return el("div", {}, el("p", {}, moment(at), " ", badge(kinds[kind] ?? kind), ` ${text}`, ...by), ...more);
}
