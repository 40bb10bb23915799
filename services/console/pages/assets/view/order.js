// One order: everything that is known about it, and its messages in the topics.
import { money } from "../format.js";
import { toSale } from "../route.js";
import { words, whyNot } from "../sentences.js";
import * as session from "../session.js";
import { announce } from "../shared/announce.js";
import { busy, el, replace, textIfAny } from "../shared/dom.js";
import { entries } from "./entries.js";
import { messagesOf } from "./found.js";
import { itemsOf } from "./orders.js";
import { button, code, facts, failure, heading, link, moment, note, part, statusBadge } from "./parts.js";
import { table } from "./table.js";

export function show(place, route, life, { sale }) {
  const [id] = route.rest;
  const body = el("div", { class: "tab-body" }, note("Reading the order…"));
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const read = async () => {
    try {
      const found = await session.read(`${sale.path}/orders/${encodeURIComponent(id)}`);
      if (life.isOver) return;
      textIfAny(error, "");
      draw(body, found, sale, life);
    } catch (refusal) {
      if (life.isOver) return;
      body.querySelector(".facts") ? textIfAny(error, whyNot(refusal)) : replace(body, failure(refusal));
    }
  };
  const again = button("Look again", () => busy(again, read));
  replace(
    place,
    el("p", {}, link(toSale(sale, "orders"), "All orders")),
    heading(3, "Order ", code(id)),
    el("div", { class: "choices" }, again),
    error,
    body,
  );
  void read();
}

function draw(body, found, sale, life) {
  const { order, ledger, ledgerProblem, notifications } = found;
  const told = table({
    caption: "Notifications of the order",
    columns: noticeColumns,
    keyOf: ({ _id }) => _id,
    none: "Its buyer was told nothing yet.",
  });
  const moved = entries({
    caption: "Entries of the ledger with the order",
    sale,
    none: ledgerProblem ?? "No units were moved for it.",
    of: order._id,
  });
  told.draw(notifications);
  moved.draw(ledger);
  replace(
    body,
    factsOf(found, sale),
    part("Notifications", told.node),
    part("Ledger", moved.node),
    messagesOf(found, sale, life),
  );
}

function factsOf({ order, user, traceId, traceRecorded, reservation }, sale) {
  const userId = user?._id ?? order.userId;
  return facts([
    ["Status", statusBadge(order.status)],
    ["Message", order.message],
    ["Reason", words(order.reason)],
    ["Items", itemsOf(order)],
    ["Amount", money(order.totalAmount, order.currency)],
    ["Made", moment(order.createdAt)],
    ["Changed", moment(order.updatedAt)],
    ["Held until", order.holdExpiresAt && moment(order.holdExpiresAt)],
    ["Inventory", words(order.inventoryStatus).toLowerCase()],
    ["Reservation", reservationOf(reservation)],
    [
      "User",
      el("span", {}, link(toSale(sale, "orders", [], { user: userId }), code(user?.email ?? userId)), user ? ` ${userId}` : ""),
    ],
    ["Idempotency key", code(order.idempotencyKey)],
    ["Trace id", traceId ? copied(traceId, traceRecorded) : "none is kept"],
  ]);
}

function reservationOf(reservation) {
  if (!reservation) return "none";
  const until = reservation.expiresAt ? [", until ", moment(reservation.expiresAt)] : [];
  return el("span", {}, `${words(reservation.status).toLowerCase()}, made `, moment(reservation.createdAt), ...until);
}

// The id is in the logs in any case.
function copied(traceId, isRecorded) {
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(traceId);
      announce("The trace id is copied.");
    } catch {
      announce("The trace id cannot be copied here: mark and copy it by hand.");
    }
  });
  copy.setAttribute("aria-label", "Copy the trace id");
  return el("span", { class: "row" }, code(traceId), copy, isRecorded ? "" : "of log lines; no trace was recorded");
}

const noticeColumns = [
  { head: "At", cell: ({ createdAt }) => moment(createdAt) },
  { head: "Status", cell: ({ status }) => statusBadge(status) },
  { head: "Message", cell: ({ message }) => message },
  { head: "Read", cell: ({ read }) => (read ? "yes" : "not yet") },
];
