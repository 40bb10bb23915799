// All sales: how each of them stands, and what needs attention.
import { withQuery } from "../api.js";
import { now } from "../shared/clock.js";
import { count, counted } from "../format.js";
import { keep, toSale, toSales } from "../route.js";
import { condition, isHalted, nextTime, phase, whyNot } from "../sentences.js";
import * as session from "../session.js";
import { countingTo } from "./countdown.js";
import { el, replace, textIfAny, text } from "../shared/dom.js";
import { badge, button, field, heading, link, mark, moment, soldBar } from "./parts.js";
import { table } from "./table.js";

const EVERY = 3_000;
const PAGE = 50;

export const title = () => "All sales";
export const keyOf = () => "";

export function show(place, route, life) {
  let search = route.query.search ?? "";
  let pages = 1;
  const input = el("input", { id: "search", type: "search", autocomplete: "off", maxlength: "100", value: search });
  const error = el("p", { class: "error", hidden: true });
  const summary = el("p", { class: "hint", role: "status" });
  const all = table({
    caption: "All sales",
    columns,
    keyOf: ({ namespace, name }) => `${namespace}/${name}`,
    none: "There is no sale, or none of that name.",
    isQuiet: true,
  });
  const more = button("Show more", () => {
    pages += 1;
    poll.again();
  });
  more.hidden = true;
  const form = el("form", { role: "search", class: "row" }, field("Search by name", input));
  replace(place, heading(1, "All sales"), form, error, summary, all.node, more);

  const draw = ({ items, nextCursor, searched }) => {
    if (searched !== search) return;
    textIfAny(error, "");
    text(summary, said(items, nextCursor));
    all.draw(items);
    more.hidden = !nextCursor;
  };
  const poll = life.every(
    EVERY,
    () => read(search, pages),
    draw,
    (refusal) => textIfAny(error, whyNot(refusal)),
  );
  follow(input, form, (typed) => {
    search = typed;
    pages = 1;
    keep(toSales({ search }));
    poll.again();
  });
  return {
    turn({ query }) {
      search = query.search ?? "";
      input.value = search;
      poll.again();
    },
  };
}

// Searches while somebody types, and at once at Enter.
function follow(input, form, onSearch) {
  let timer = null;
  const now = () => {
    clearTimeout(timer);
    onSearch(input.value.trim());
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(now, 300);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    now();
  });
}

// Reads as many pages as are on show.
async function read(search, pages) {
  const items = [];
  let nextCursor = null;
  for (let page = 0; page < pages; page += 1) {
    const found = await session.read(withQuery("/api/sales", { search, limit: PAGE, cursor: nextCursor }));
    items.push(...found.items);
    nextCursor = found.nextCursor;
    if (!nextCursor) break;
  }
  return { items, nextCursor, searched: search };
}

function said(items, nextCursor) {
  const bad = items.filter(({ attention }) => attention.length > 0).length;
  const live = items.filter(({ phase }) => phase === "Live").length;
  const all = `${counted(items.length, "sale")}${nextCursor ? " are shown, and there are more" : ""}`;
  return `${all}: ${count(live)} live, ${count(bad)} with something that needs attention.`;
}

const columns = [
  { head: "Sale", cell: named },
  { head: "Phase", cell: phaseOf },
  { head: "Opens or closes", cell: when },
  { head: "Sold of stock", cell: (sale) => soldBar(sale, sale.name) },
  { head: "Orders accepted", number: true, cell: ({ orders }) => count(orders?.accepted) },
  { head: "Pending", number: true, cell: ({ orders }) => count(orders?.pending) },
  { head: "Attention", cell: attention },
];

function named(sale) {
  return el("span", { class: "named" }, link(toSale(sale), sale.name), el("span", { class: "hint" }, sale.namespace));
}

export function phaseOf(sale) {
  const kind = isHalted(sale) || sale.phase === "Unreadable" ? "bad" : sale.phase === "Live" ? "good" : "none";
  const parts = [badge(phase(sale), kind)];
  if (sale.mode === "Rehearsal") parts.push(" ", badge("Rehearsal"));
  return el("span", {}, ...parts);
}

function when(sale) {
  const next = nextTime(sale);
  if (next) return countingTo(next);
  if (!sale.closesAt) return "No time is set";
  return el("span", {}, Date.parse(sale.closesAt) < now() ? "Closed at " : "Closes at ", moment(sale.closesAt));
}

function attention({ attention }) {
  if (attention.length === 0) return "Nothing";
  return el("ul", { class: "attention" }, ...attention.map((one) => el("li", {}, mark(one.good), condition(one))));
}
