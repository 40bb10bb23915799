// The messages of a partition: the newest, from an offset or a time on, by key, or as they come.
import { withQuery } from "../api.js";
import { count, counted } from "../format.js";
import { go, toSale } from "../route.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { busy, el, list, replace, text, textIfAny } from "../shared/dom.js";
import { formOf, queryOf } from "./from.js";
import { messageNode } from "./message.js";
import { button, heading, link } from "./parts.js";
import { tailOf, take } from "./tail.js";

const LIMIT = 50;
// A scan by key gives up after its bound; so often it goes on by itself.
const MOST_ROUNDS = 20;

export function show(place, route, life, { sale }) {
  const [topic, partition] = route.rest;
  const path = `${sale.path}/topics/${encodeURIComponent(topic)}/${encodeURIComponent(partition)}`;
  const state = { query: queryOf(route.query), items: [], next: null, end: null, round: 0 };
  const status = el("p", { class: "hint", role: "status" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const order = el("p", { class: "hint" });
  const items = el("div", { class: "messages" });
  const older = button("Older", () => goOlder(sale, route, state));
  const newer = button("Go on", () => busy(newer, () => read({ offset: state.next }, false)));
  const form = formOf((query) => go(toSale(sale, "topics", route.rest, query)));
  const draw = () => {
    const isTail = tail.isOn();
    const shown = isTail ? state.items.toReversed() : state.items;
    list(
      items,
      shown,
      ({ offset }) => offset,
      (message) => messageNode(message),
      () => {},
    );
    text(order, shown.length === 0 ? "" : isTail ? "Newest first." : "Oldest first.");
    older.hidden = isTail || !(state.items[0]?.offset > state.earliest) || Boolean(state.query.key);
    newer.hidden = isTail || state.next === null || state.next >= state.end;
  };

  // Reads on; a search by key goes on until it has found something.
  async function read(from, isAnew) {
    const mine = ++state.round;
    let next = from;
    if (isAnew) state.items = [];
    try {
      for (let round = 0; round < MOST_ROUNDS; round += 1) {
        const found = await session.read(withQuery(path, { ...next, key: state.query.key, limit: LIMIT }));
        if (mine !== state.round || life.isOver) return;
        take(state, found);
        textIfAny(error, "");
        text(status, said(state, found));
        draw();
        if (!found.gaveUp || found.items.length > 0) return;
        next = { offset: found.next };
      }
    } catch (refusal) {
      if (mine === state.round && !life.isOver) textIfAny(error, whyNot(refusal));
    }
  }

  const tail = tailOf({ path, life, state, draw, status });
  const title = heading(3, topic, `, partition ${partition}`);
  const back = el("p", {}, link(toSale(sale, "topics"), "All topics"));
  replace(place, back, title, form.node, tail.node, error, status, order, items, el("div", { class: "choices" }, older, newer));
  const start = (query) => {
    tail.stop();
    state.query = queryOf(query);
    form.fill(state.query);
    const { key, ...from } = state.query;
    void read(from, true);
  };
  start(route.query);
  return { turn: ({ query }) => start(query) };
}

function goOlder(sale, { rest }, state) {
  const from = Math.max(state.earliest, state.items[0].offset - LIMIT);
  go(toSale(sale, "topics", rest, { offset: from }));
}

function said({ items, query }, { earliest, end, next, scanned, gaveUp }) {
  const found = `${counted(items.length, "message")} ${items.length === 1 ? "is" : "are"} shown${query.key ? " of this key" : ""}.`;
  const range = `The earliest offset is ${count(earliest)}, and the next one that is written is ${count(end)}.`;
  const looked = query.key
    ? ` ${counted(scanned, "record")} were looked at${gaveUp ? `, up to the offset ${count(next)}; there are more` : ""}.`
    : "";
  return `${found} ${range}${looked}`;
}
