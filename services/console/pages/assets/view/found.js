// The messages of an order: the places where they are, and on request the messages themselves.
import { withQuery } from "../api.js";
import { counted } from "../format.js";
import { toSale } from "../route.js";
import * as session from "../session.js";
import { busy, el, replace, text } from "../shared/dom.js";
import { messageNode } from "./message.js";
import { button, failure, heading, link, moment } from "./parts.js";

// A scan by key gives up after its bound; so often it is asked to go on.
const MOST_ROUNDS = 20;
const LIMIT = 200;

export function messagesOf({ order, places }, sale, life) {
  const status = el("p", { class: "hint", role: "status" });
  const results = el("div", { class: "messages" });
  const look = button("Look for its messages in the topics", () =>
    busy(look, () => lookInto(order, places, { sale, life, status, results })),
  );
  const items = places.map((place) =>
    el(
      "li",
      {},
      link(addressOf(sale, place, order._id), `${place.topic}, partition ${place.partition}`),
      " from ",
      moment(place.time),
    ),
  );
  return el(
    "section",
    { class: "part" },
    heading(3, "Messages"),
    el("ul", { class: "places" }, ...items),
    el("div", { class: "choices" }, look),
    status,
    results,
  );
}

const addressOf = (sale, { topic, partition, time }, key) => toSale(sale, "topics", [topic, String(partition)], { time, key });

async function lookInto(order, places, { sale, life, status, results }) {
  const found = [];
  const failures = [];
  const draw = () =>
    replace(results, ...failures, ...sorted(found).map(({ place, message }) => messageNode(message, { place, isOpen: true })));
  for (const [index, place] of places.entries()) {
    const name = `${place.topic}/${place.partition}`;
    const say = (round) =>
      text(
        status,
        `Looking into ${name}, the place ${index + 1} of ${places.length}${round > 0 ? `, ${counted(round + 1, "round")}` : ""}…`,
      );
    try {
      const isWhole = await scan(
        sale,
        place,
        order._id,
        (message) => found.push({ place: name, message }),
        (round) => !life.isOver && say(round),
      );
      if (!isWhole)
        failures.push(el("p", { class: "hint" }, `${name} is long: it was not read to its end. Open it above to go on.`));
    } catch (refusal) {
      failures.push(el("div", {}, el("p", {}, `${name} could not be read:`), failure(refusal)));
    }
    if (life.isOver) return;
    draw();
  }
  text(status, `${counted(found.length, "message")} found in ${counted(places.length, "place")}.`);
}

const sorted = (found) => found.toSorted((one, other) => Date.parse(one.message.time) - Date.parse(other.message.time));

// Whether the place was read to its end.
async function scan(sale, { topic, partition, time }, key, take, say) {
  const path = `${sale.path}/topics/${encodeURIComponent(topic)}/${partition}`;
  let from = { time };
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    say(round);
    const { items, next, gaveUp } = await session.read(withQuery(path, { ...from, key, limit: LIMIT }));
    items.forEach(take);
    if (!gaveUp) return true;
    from = { offset: next };
  }
  return false;
}
