// Dead letters: messages that were given up, and what was done about them.
import { pretty } from "../format.js";
import { toSale } from "../route.js";
import * as session from "../session.js";
import { ask } from "./ask.js";
import { attribute, busy, el, list, put, replace } from "../shared/dom.js";
import { paged } from "./paging.js";
import { button, code, facts, heading, link, moment } from "./parts.js";

export function show(place, route, life, { sale }) {
  let all = route.query.all === "true";
  const nav = el(
    "nav",
    { class: "spans", "aria-label": "Which dead letters" },
    link(toSale(sale, "dead-letters"), "Open ones"),
    link(toSale(sale, "dead-letters", [], { all: true }), "All"),
  );
  const none = el("p", { class: "hint", role: "status", hidden: true });
  const letters = el("div", { class: "letters" });
  const draw = (items) => {
    none.hidden = items.length > 0;
    none.textContent = all ? "There are no dead letters." : "There are no open dead letters.";
    list(
      letters,
      items,
      ({ _id }) => _id,
      (letter) => letterNode(letter, sale, pages),
      (node, letter) => put(node.querySelector(".about"), aboutLetter(letter, sale)),
    );
  };
  const pages = paged(life, { path: () => `${sale.path}/dead-letters`, query: () => ({ all: all || null }), draw });
  const again = button("Look again", () => busy(again, pages.read));
  const mark = () => [...nav.children].forEach((one, index) => attribute(one, "aria-current", (index === 1) === all && "true"));
  replace(place, nav, el("div", { class: "choices" }, again), none, letters, pages.node);
  mark();
  void pages.read();
  return {
    turn({ query }) {
      all = query.all === "true";
      mark();
      void pages.read();
    },
  };
}

function letterNode(letter, sale, pages) {
  const text = el(
    "pre",
    { tabindex: "0", role: "region", "aria-label": `Payload of ${letter._id}` },
    pretty(letter.payload ?? ""),
  );
  const buttons = session.maySwitch() ? [switches(letter, sale, pages)] : [];
  return el("article", { class: "card part" }, heading(3, code(letter._id)), el("div", { class: "about" }), text, ...buttons);
}

function aboutLetter({ topic, partition, offset, key, reason, at, group, deeds }, sale) {
  const place = toSale(sale, "topics", [topic, String(partition)], { offset });
  const history = deeds.map(({ what, who, at: when }) =>
    el("li", {}, `${what === "replayed" ? "Replayed" : "Discarded"} by ${who} at `, moment(when)),
  );
  return facts([
    ["Given up", moment(at)],
    ["Reason", reason],
    ["Group", group],
    ["Place", link(place, `${topic}, partition ${partition}, offset ${offset}`)],
    ["Key", key ? code(key) : "none"],
    ["Deeds", history.length > 0 ? el("ul", {}, ...history) : "none yet"],
  ]);
}

function switches(letter, sale, pages) {
  const replay = button("Replay", () => askReplay(letter, sale, pages));
  const discard = button("Discard", () => askDiscard(letter, sale, pages), "danger");
  replay.setAttribute("aria-label", `Replay ${letter._id}`);
  discard.setAttribute("aria-label", `Discard ${letter._id}`);
  return el("div", { class: "choices" }, replay, discard);
}

function askReplay(letter, sale, pages) {
  ask({
    title: "Replay this dead letter?",
    sentences: () => [
      `The message is sent to ${letter.topic} once more, and the group ${letter.group} takes it up from there.`,
      "What has been carried out already is not carried out twice. If the reason has not gone, it becomes a dead letter again.",
    ],
    confirm: "Replay it",
    needsReason: false,
    act: () => settle("replay", letter, sale, pages, "The message is sent once more."),
  });
}

function askDiscard(letter, sale, pages) {
  ask({
    title: "Discard this dead letter?",
    sentences: () => [
      "It counts as done and is not sent again. Nothing else changes: no order and no unit.",
      `Given up because: ${letter.reason}`,
    ],
    confirm: "Discard it",
    isDanger: true,
    needsReason: false,
    act: () => settle("discard", letter, sale, pages, "The dead letter is discarded."),
  });
}

async function settle(deed, { _id }, sale, pages, done) {
  pages.put(await session.send(`${sale.path}/dead-letters/${deed}`, { id: _id }));
  return done;
}
