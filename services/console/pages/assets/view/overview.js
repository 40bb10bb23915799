// How a sale stands: its conditions, products, processes and charts, its story, and its switches.
import { counted, money, count } from "../format.js";
import { toSale } from "../route.js";
import { condition, words } from "../sentences.js";
import * as session from "../session.js";
import { charts } from "./charts.js";
import { el, list, put, replace, textIfAny } from "../shared/dom.js";
import { badge, facts, heading, link, mark, moment, note, part } from "./parts.js";
import { storyOf } from "./story.js";
import { haltSwitch, maySteer, stockButton } from "./switches.js";
import { table } from "./table.js";

export function show(place, route, life, { sale }) {
  const steering = steeringOf(sale);
  const about = el("div");
  const conditions = el("ul", { class: "conditions" });
  const products = table({
    caption: "Products, in units",
    columns: columns(sale),
    keyOf: ({ sku }) => sku,
    none: "There are no products yet.",
  });
  const processes = table({
    caption: "Processes",
    columns: processColumns,
    keyOf: ({ component, name }) => `${component} ${name}`,
    none: "No process is known.",
  });
  const circuits = el("div");
  const figures = charts(route, life, sale);
  replace(
    place,
    steering.node,
    about,
    part("Conditions", conditions),
    part("Products", products.node),
    figures.node,
    storyOf(life, sale),
    part("Processes and circuits", processes.node, circuits),
  );

  const draw = () => {
    const { latest } = sale;
    if (!latest) return;
    steering.draw();
    put(about, factsOf(latest));
    list(
      conditions,
      latest.conditions,
      ({ type }) => type,
      () => el("li"),
      (item, one) => put(item, sentence(one)),
    );
    products.draw(latest.products);
    processes.draw(latest.processes);
    put(circuits, circuitsOf(latest.circuits));
  };
  life.atEnd(sale.changes.listen(draw));
  draw();
  return { turn: figures.turn };
}

function steeringOf(sale) {
  const halting = haltSwitch(sale);
  const why = note("");
  halting.node.hidden = true;
  return {
    node: el("div", { class: "choices" }, halting.node, why),
    draw() {
      const may = maySteer(sale);
      halting.node.hidden = !may;
      if (may) halting.draw();
      const onlySeen = session.maySwitch()
        ? "Nothing can be switched here: this sale is only looked at."
        : "This console only looks: it may not change a sale.";
      textIfAny(why, may ? "" : onlySeen);
    },
  };
}

function factsOf({ summary, confirmation, holdSeconds, retainFor, report }) {
  const { orders } = summary;
  const endings =
    orders &&
    ["confirmed", "pending", "failed", "cancelled", "expired"].map((name) => `${count(orders[name])} ${name}`).join(", ");
  return facts([
    ["What is known", summary.message],
    ["Opens", summary.opensAt && moment(summary.opensAt)],
    ["Closes", summary.closesAt && moment(summary.closesAt)],
    [
      "Units",
      `${count(summary.available)} left, ${count(summary.reserved)} held and ${count(summary.sold)} sold of ${count(summary.stock)}`,
    ],
    ["Orders", orders && `${count(orders.accepted)} accepted: ${endings}`],
    ["Confirmation", confirmation === "Payment" ? `by a payment, within ${counted(holdSeconds, "second")}` : "automatic"],
    ["Kept after its end", retainFor],
    ["Report", report && link(toSale(summary, "report"), "What came of it")],
    ["Address of the shop", addressOf(summary.url)],
  ]);
}

// Only an address of the web becomes a link.
function addressOf(url) {
  if (!url || !URL.canParse(url) || !["https:", "http:"].includes(new URL(url).protocol)) return url;
  return el("a", { href: url, rel: "noreferrer" }, url);
}

function sentence(one) {
  const since = one.since ? [el("span", { class: "hint" }, " since ", moment(one.since))] : [];
  return el("p", {}, mark(one.good), el("b", {}, one.type), ` ${condition(one)}`, ...since);
}

function columns(sale) {
  const price = ({ price, originalPrice }) => {
    const { currency } = sale.latest;
    return originalPrice ? `${money(price, currency)} (was ${money(originalPrice, currency)})` : money(price, currency);
  };
  const act = (product) => (maySteer(sale) ? stockButton(sale, product) : "–");
  return [
    { head: "SKU", cell: ({ sku }) => sku },
    { head: "Name", cell: ({ name }) => name },
    { head: "Price", number: true, cell: price },
    { head: "Stock", number: true, cell: ({ stock }) => count(stock) },
    { head: "Available", number: true, cell: ({ available }) => count(available) },
    { head: "Reserved", number: true, cell: ({ reserved }) => count(reserved) },
    { head: "Sold", number: true, cell: ({ sold }) => count(sold) },
    {
      head: "Each buyer",
      number: true,
      cell: ({ limitPerCustomer }) => (limitPerCustomer === null ? "no limit" : count(limitPerCustomer)),
    },
    { head: "Change", cell: act },
  ];
}

const processColumns = [
  { head: "Process", cell: ({ name }) => name },
  { head: "Component", cell: ({ component }) => component },
  { head: "Ready", cell: ({ ready }) => (ready ? badge("ready", "good") : badge("not ready", "bad")) },
  { head: "Metrics", cell: ({ scraped }) => (scraped ? "are read" : badge("cannot be read", "bad")) },
];

// An open circuit: a service is not asked for a while, because it has not answered.
function circuitsOf(circuits) {
  if (circuits.length === 0) return note("No circuit is known.");
  const items = circuits.map(({ service, open }) =>
    el(
      "li",
      {},
      mark(!open),
      `${words(service)}: ${open ? "is not asked for a while, because it did not answer" : "is asked as usual"}.`,
    ),
  );
  return el("div", {}, heading(4, "Circuits"), el("ul", { class: "conditions" }, ...items));
}
