// One sale: its name and phase, the links to its tabs, and the tab that somebody is at.
import { life as newLife } from "../life.js";
import { parse, TABS, toSale } from "../route.js";
import { nextTime, phaseMeaning } from "../sentences.js";
import * as session from "../session.js";
import { topic } from "../shared/topic.js";
import { countingTo } from "./countdown.js";
import * as deadLetters from "./letters.js";
import { attribute, el, put, replace } from "../shared/dom.js";
import * as lanes from "./lanes.js";
import * as ledger from "./ledger.js";
import * as log from "./log.js";
import * as order from "./order.js";
import * as orders from "./orders.js";
import * as overview from "./overview.js";
import { failure, heading, link } from "./parts.js";
import { phaseOf } from "./sales.js";
import * as messages from "./messages.js";
import * as report from "./report.js";
import * as topics from "./topics.js";

const EVERY = 3_000;

export const title = ({ name, tab }) => `${TABS[tab]} · ${name}`;
export const keyOf = ({ namespace, name }) => `${namespace}/${name}`;

export function show(place, route, life) {
  const sale = follow(route, life);
  const state = el("div", { class: "state" });
  const tabs = el("nav", { class: "tabs", "aria-label": "Tabs of this sale" });
  const inside = el("div", { class: "tab" });
  const title = heading(1, route.name, " ", el("span", { class: "hint" }, `in ${route.namespace}`));
  replace(place, el("nav", { "aria-label": "Where you are" }, link("#/", "All sales")), title, state, tabs, inside);
  const links = Object.fromEntries(Object.entries(TABS).map(([tab, name]) => [tab, link(toSale(route, tab), name)]));
  tabs.append(...Object.values(links));
  links.report.hidden = true;
  sale.changes.listen(() => {
    put(state, stateOf(sale));
    links.report.hidden = !sale.latest?.report;
    // What is not there has no tabs.
    tabs.hidden = inside.hidden = sale.latest === null && sale.refusal?.status === 404;
  });
  const tab = tabIn(inside, tabs, sale);
  life.atEnd(() => tab.leave());
  tab.turn(route, true);
  return { turn: (next) => tab.turn(next, false) };
}

// Reads the sale again and again; the tabs listen to what is new.
function follow({ namespace, name }, life) {
  const path = ["/api/sales", namespace, name].map((part, index) => (index === 0 ? part : encodeURIComponent(part))).join("/");
  const sale = { namespace, name, path, latest: null, refusal: null, changes: topic() };
  sale.take = (found) => {
    sale.latest = { ...sale.latest, ...found };
    sale.refusal = null;
    sale.changes.tell();
  };
  sale.read = async () => sale.take(await session.read(path));
  const fail = (refusal) => {
    sale.refusal = refusal;
    sale.changes.tell();
  };
  const poll = life.every(EVERY, () => session.read(path), sale.take, fail);
  sale.again = () => poll.again();
  return sale;
}

function stateOf({ latest, refusal }) {
  if (!latest) return failure(refusal);
  const { summary } = latest;
  const next = nextTime(summary);
  return el(
    "div",
    { class: "row" },
    phaseOf(summary),
    next ? countingTo(next) : "",
    el("span", { class: "hint" }, phaseMeaning(summary)),
  );
}

function viewOf({ tab, rest }) {
  if (tab === "orders" && rest.length > 0) return order;
  if (tab === "topics" && rest.length > 1) return messages;
  return { overview, report, orders, topics, lanes, "dead-letters": deadLetters, ledger, log }[tab];
}

// The part below the links. Another query of the same path is told to what is there.
function tabIn(place, links, sale) {
  let shown = null;
  const leave = () => shown?.life.end();
  return {
    leave,
    turn(route, isFirst) {
      if (shown?.path === route.path) return shown.turn?.(route);
      leave();
      for (const one of links.children)
        attribute(one, "aria-current", parse(one.getAttribute("href")).tab === route.tab && "page");
      shown = { path: route.path, life: newLife() };
      const title = heading(2, TABS[route.tab]);
      const body = el("div", { class: "tab-body" });
      replace(place, title, body);
      shown.turn = viewOf(route).show(body, route, shown.life, { sale, title })?.turn;
      if (!isFirst) title.focus();
    },
  };
}
