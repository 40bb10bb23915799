// The report of a sale that has ended: what was sold, what became of the orders, and what went wrong.
import { count, counted, measure, money } from "../format.js";
import { orderStatus, whyNot, words } from "../sentences.js";
import * as session from "../session.js";
import { el, put, replace, textIfAny } from "../shared/dom.js";
import { code, facts, mark, moment, note, part } from "./parts.js";
import { table } from "./table.js";

// It never changes; a sale that was reopened gets another one.
const EVERY = 30_000;
const SHAPE = "quicksale.io/report/v1";

export function show(place, route, life, { sale }) {
  const error = el("p", { class: "error", hidden: true });
  const body = el("div", {}, note("Reading the report…"));
  replace(place, error, body);
  const draw = (report) => {
    textIfAny(error, "");
    put(body, el("div", { class: "tab-body" }, downloadOf(sale), ...partsOf(report)));
  };
  life.every(
    EVERY,
    () => session.read(`${sale.path}/report`),
    draw,
    (refusal) => {
      body.replaceChildren();
      textIfAny(error, whyNot(refusal));
    },
  );
}

function downloadOf({ path, name }) {
  return el("p", {}, el("a", { href: `${path}/report`, download: `${name}-report.json` }, "Download the report as JSON"));
}

function partsOf(report) {
  if (report.version !== SHAPE) return [note(`This console does not know reports of the shape ${report.version}.`)];
  const { times, products, missing, rehearsal } = report;
  return [
    facts([
      ["Opened", times.openedAt && moment(times.openedAt)],
      ["Closed", times.closedAt && moment(times.closedAt)],
      ["Settled", times.settledAt && moment(times.settledAt)],
    ]),
    ...(missing.length > 0 ? [part("What is missing", lines(missing))] : []),
    part("Units", drawn("Units of each product", unitColumns, products, "There was no product.")),
    part("Orders", ...ordersOf(report)),
    part("Refused at the door", ...refusalsOf(report)),
    part("Durations", ...durationsOf(report)),
    part("Faults", ...faultsOf(report)),
    ...(rehearsal ? [part("Rehearsal", el("p", {}, rehearsal.verdict))] : []),
    part("Audit of the books", ...auditOf(report)),
    part("Versions", ...versionsOf(report)),
  ];
}

// A table that is drawn once.
function drawn(caption, columns, rows, none) {
  const shown = table({ caption, columns, keyOf: (row) => row, none });
  shown.draw(rows);
  return shown.node;
}

// Numbers by what they are of, the largest first, as a table. What was counted and is none is left out.
function counts(caption, [head, number], numbers, none, cell = ([name]) => name) {
  const rows = Object.entries(numbers).filter(([, times]) => times > 0);
  rows.sort(([, one], [, other]) => other - one);
  const columns = [
    { head, cell },
    { head: number, number: true, cell: ([, times]) => count(times) },
  ];
  return drawn(caption, columns, rows, none);
}

const lines = (sentences) => el("ul", { class: "differences" }, ...sentences.map((sentence) => el("li", {}, sentence)));

const unitColumns = [
  { head: "SKU", cell: ({ sku }) => sku },
  { head: "Stock", number: true, cell: ({ stock }) => count(stock) },
  { head: "Sold", number: true, cell: ({ sold }) => count(sold) },
  { head: "Left", number: true, cell: ({ available }) => count(available) },
  { head: "Held", number: true, cell: ({ reserved }) => count(reserved) },
];

const inWords = ([name]) => words(name);

function ordersOf({ orders, currency }) {
  if (!orders) return [note("Nobody could count them.")];
  const peak = () =>
    el("span", {}, `${counted(orders.mostOrdersInASecond, "order")} in the second of `, moment(orders.busiestSecond));
  return [
    facts([
      ["Accepted", count(orders.accepted)],
      ["Sold for", money(orders.soldFor, currency)],
      ["First order", moment(orders.firstOrderAt)],
      ["Last order", moment(orders.lastOrderAt)],
      ["First sale", moment(orders.firstSaleAt)],
      ["Last sale", moment(orders.lastSaleAt)],
      ["Peak", orders.busiestSecond && peak()],
      ["Cannot be read", orders.unreadable > 0 ? counted(orders.unreadable, "document") : null],
    ]),
    counts("Orders by outcome", ["Outcome", "Orders"], orders.byStatus, "There was no order.", ([status]) => orderStatus(status)),
    counts("Failed orders by reason", ["Reason", "Orders"], orders.failedByReason, "No order failed.", inWords),
  ];
}

function refusalsOf({ refused }) {
  return [
    facts([["Refused in all", count(refused.total)]]),
    counts("Refusals by cause", ["Cause", "Orders"], refused.byCode, "No cause was counted.", inWords),
    note("By cause as the gateways have counted that were there at the end, each since it started."),
  ];
}

const within = (seconds) => (seconds === null ? "longer than is measured" : `${measure(seconds)} s`);

const durationColumns = [
  { head: "Of orders", cell: ({ what }) => what },
  { head: "Orders", number: true, cell: ({ count: number }) => count(number) },
  { head: "50 % within", number: true, cell: ({ p50AtMostSeconds }) => within(p50AtMostSeconds) },
  { head: "90 % within", number: true, cell: ({ p90AtMostSeconds }) => within(p90AtMostSeconds) },
  { head: "99 % within", number: true, cell: ({ p99AtMostSeconds }) => within(p99AtMostSeconds) },
];

function durationsOf({ durations: { acceptance, confirmation } }) {
  const rows = [
    { what: "From arrival until accepted", ...acceptance },
    { what: "From acceptance until confirmed", ...confirmation },
  ];
  const known = rows.filter((row) => row.count > 0);
  return [drawn("How long orders took", durationColumns, known, "Nobody has measured it.")];
}

const spanColumns = [
  { head: "Reason", cell: ({ reason }) => reason },
  { head: "From", cell: ({ from }) => moment(from) },
  { head: "Until", cell: ({ until }) => (until ? moment(until) : "the end") },
];

function faultsOf({ faults: { degraded, restarts, counters } }) {
  const counter = ([metric]) => code(metric);
  return [
    drawn("When the sale was degraded", spanColumns, degraded, "It was never degraded."),
    counts("Restarts of containers", ["Service", "Restarts"], restarts, "No container was restarted."),
    counts("What was put right by itself", ["Counter", "Times"], counters, "Nothing had to be put right.", counter),
  ];
}

function auditOf({ audit: { result, startedAt, orders, differences = [] } }) {
  const good = { agrees: true, differs: false }[result] ?? null;
  const verdict = {
    agrees: `The books agree: ${counted(orders, "order was", "orders were")} looked at.`,
    differs: "The books differ.",
  };
  const begun = startedAt ? [el("span", { class: "hint" }, " The audit began at ", moment(startedAt), ".")] : [];
  return [
    el("p", {}, mark(good), verdict[result] ?? "Nobody has audited the books.", ...begun),
    ...(differences.length > 0 ? [lines(differences)] : []),
  ];
}

const imageColumns = [
  { head: "Service", cell: ([service]) => service },
  { head: "Image at the end", cell: ([, image]) => code(image) },
];

function versionsOf({ versions: { operator, images } }) {
  return [
    facts([["Operator", operator]]),
    drawn("Images of the services", imageColumns, Object.entries(images), "No image is known."),
  ];
}
