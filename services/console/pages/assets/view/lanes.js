// The lanes: who works through which partition, and how far behind it is.
import { count, counted } from "../format.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { el, replace, text, textIfAny } from "../shared/dom.js";
import { table } from "./table.js";

const EVERY = 2_000;

export function show(place, route, life, { sale }) {
  const error = el("p", { class: "error", hidden: true });
  const summary = el("p", { class: "hint" });
  const lanes = table({ caption: "Lanes", columns: laneColumns, keyOf: keyOf, none: "There are no lanes." });
  const workers = table({
    caption: "Workers",
    columns: workerColumns,
    keyOf: ({ group, name }) => `${group} ${name}`,
    none: "No worker is there.",
  });
  replace(place, error, summary, lanes.node, workers.node);
  const draw = ({ items, workers: found }) => {
    textIfAny(error, "");
    text(summary, summed(items, found));
    lanes.draw(items);
    workers.draw(found);
  };
  life.every(
    EVERY,
    () => session.read(`${sale.path}/lanes`),
    draw,
    (refusal) => textIfAny(error, whyNot(refusal)),
  );
}

const keyOf = ({ group, topic, partition }) => `${group} ${topic} ${partition}`;

function summed(lanes, workers) {
  const lag = lanes.reduce((sum, lane) => sum + (lane.lag ?? 0), 0);
  const alone = lanes.filter(({ owner }) => owner === null).length;
  const unowned = alone > 0 ? ` ${counted(alone, "lane")} ${alone === 1 ? "has" : "have"} no owner.` : "";
  return `${counted(lanes.length, "lane")} with a lag of ${counted(lag, "message")} in all, and ${counted(workers.length, "worker")}.${unowned}`;
}

const laneColumns = [
  { head: "Group", cell: ({ group }) => group },
  { head: "Topic", cell: ({ topic }) => topic },
  { head: "Partition", number: true, cell: ({ partition }) => count(partition) },
  { head: "Owner", cell: ({ owner }) => owner ?? "nobody" },
  { head: "Epoch", number: true, cell: ({ epoch }) => count(epoch) },
  { head: "Offset", number: true, cell: ({ offset }) => count(offset) },
  { head: "End", number: true, cell: ({ end }) => count(end) },
  { head: "Lag", number: true, cell: ({ lag }) => (lag === null ? "not known" : count(lag)) },
];

const workerColumns = [
  { head: "Worker", cell: ({ name }) => name },
  { head: "Group", cell: ({ group }) => group },
];
