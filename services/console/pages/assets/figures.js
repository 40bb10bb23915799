// What the charts of a sale show, and how it is made of its history.
import { count, measure } from "./format.js";
import { words } from "./sentences.js";

// More lines than these cannot be told apart.
export const MOST_LINES = 6;

// So many causes of refusals have lines of their own; the last one is of all others.
const CAUSES = 4;

const total = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
const latest = (values) => values.findLast((value) => value !== null) ?? 0;
const scaled = (values, by) => values.map((value) => (value === null ? null : value * by));

// The series that there are, under the names that people know.
function named(series, names) {
  const known = Object.entries(names).filter(([key]) => series[key]);
  return known.map(([key, name]) => ({ name, values: series[key] }));
}

// Where one of them is not known the sum is not known either.
function sum(lines) {
  return lines[0].values.map((_, index) =>
    lines.reduce((all, { values }) => (all === null || values[index] === null ? null : all + values[index]), 0),
  );
}

function refusals(series) {
  const all = Object.entries(series).filter(([key, values]) => key.startsWith("refused.") && total(values) > 0);
  const lines = all.map(([key, values]) => ({ name: `refused: ${words(key.slice("refused.".length))}`, values }));
  lines.sort((one, other) => total(other.values) - total(one.values));
  return lines.length <= CAUSES
    ? lines
    : [...lines.slice(0, CAUSES - 1), { name: "refused: other causes", values: sum(lines.slice(CAUSES - 1)) }];
}

function orders({ series }) {
  return [...named(series, { accepted: "accepted", confirmed: "confirmed" }), ...refusals(series)];
}

function endings({ series }) {
  return named(series, { failed: "failed", cancelled: "cancelled", expired: "expired" });
}

function latency({ series }) {
  const lines = named(series, { orderP50: "p50", orderP90: "p90", orderP99: "p99" });
  return lines.map(({ name, values }) => ({ name, values: scaled(values, 1_000) }));
}

function units({ series, units: bySku }) {
  const each = bySku.map(({ sku, available }) => ({ name: sku, values: available }));
  const sums = named(series, bySku.length === 1 ? { reserved: "reserved" } : { available: "all products", reserved: "reserved" });
  return [...sums, ...each];
}

function lag({ series, lanes }) {
  const top = lanes.toSorted((one, other) => latest(other.lag) - latest(one.lag) || total(other.lag) - total(one.lag));
  const each = top.map((lane) => ({ name: `${lane.group} ${lane.topic}/${lane.partition}`, values: lane.lag }));
  return [...named(series, { lag: "sum of all lanes" }), ...each];
}

const milliseconds = (value) => `${measure(value)} ms`;
const seconds = (value) => `${measure(value)} s`;

// `lines(history)` are the lines; `format` writes a value.
export const FIGURES = [
  { title: "Orders per second", lines: orders, format: measure },
  { title: "Latency of POST /api/orders", lines: latency, format: milliseconds },
  { title: "Units left", lines: units, format: count, isWhole: true },
  { title: "Open sockets", lines: ({ series }) => named(series, { sockets: "sockets" }), format: count, isWhole: true },
  { title: "Outbox entries", lines: ({ series }) => named(series, { outboxEntries: "entries" }), format: count, isWhole: true },
  {
    title: "Age of the oldest outbox entry",
    lines: ({ series }) => named(series, { outboxOldestSeconds: "oldest entry" }),
    format: seconds,
  },
  { title: "Lag of the lanes, in messages", lines: lag, format: count, isWhole: true },
  { title: "Pending orders", lines: ({ series }) => named(series, { pending: "pending" }), format: count, isWhole: true },
  { title: "Errors per second", lines: ({ series }) => named(series, { errors: "errors (5xx)" }), format: measure },
  { title: "Requests per second", lines: ({ series }) => named(series, { requests: "requests" }), format: measure },
  { title: "Orders that ended without units, per second", lines: endings, format: measure },
  {
    title: "Event loop p99",
    lines: ({ series }) =>
      named(series, { eventLoopP99: "event loop" }).map((line) => ({ ...line, values: scaled(line.values, 1_000) })),
    format: milliseconds,
  },
];
