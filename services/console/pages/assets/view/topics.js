// The topics of a sale with their partitions.
import { count } from "../format.js";
import { toSale } from "../route.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { el, list, replace, textIfAny } from "../shared/dom.js";
import { badge, heading, link } from "./parts.js";
import { table } from "./table.js";

const EVERY = 5_000;

export function show(place, route, life, { sale }) {
  const [only] = route.rest;
  const error = el("p", { class: "error", hidden: true });
  const topics = el("div", { class: "tab-body" });
  const tables = new Map();
  replace(place, only && el("p", {}, link(toSale(sale, "topics"), "All topics")), error, topics);
  const make = ({ topic, kind }) => {
    const shown = table({
      caption: `Partitions of ${topic}`,
      columns: columns(sale, topic),
      keyOf: ({ partition }) => partition,
      isQuiet: true,
    });
    tables.set(topic, shown);
    return el(
      "section",
      { class: "part" },
      heading(3, topic, " ", badge(kind === "deadLetters" ? "dead letters" : "work")),
      el("p", { class: "hint" }),
      shown.node,
    );
  };
  const update = (node, { topic, partitions }) => {
    node.querySelector(".hint").textContent = summed(partitions);
    tables.get(topic).draw(partitions);
  };
  const draw = ({ items }) => {
    textIfAny(error, items.length === 0 ? "There are no topics." : "");
    list(topics, only ? items.filter(({ topic }) => topic === only) : items, ({ topic }) => topic, make, update);
  };
  life.every(
    EVERY,
    () => session.read(`${sale.path}/topics`),
    draw,
    (refusal) => textIfAny(error, whyNot(refusal)),
  );
}

function summed(partitions) {
  const records = partitions.reduce((sum, one) => sum + (one.records ?? 0), 0);
  return `${count(records)} records in ${count(partitions.length)} partitions.`;
}

function columns(sale, topic) {
  return [
    {
      head: "Partition",
      cell: ({ partition }) => link(toSale(sale, "topics", [topic, String(partition)]), `Partition ${partition}`),
    },
    { head: "Earliest", number: true, cell: ({ earliest }) => count(earliest) },
    { head: "End", number: true, cell: ({ end }) => count(end) },
    { head: "Records", number: true, cell: ({ records }) => count(records) },
    { head: "Problem", cell: ({ problem }) => problem ?? "None" },
  ];
}
