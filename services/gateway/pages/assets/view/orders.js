// The buyer's orders: where each stands, and what there is to do while its units are held.
import { everySecond, now } from "../shared/clock.js";
import { count, countdown, money, time } from "../format.js";
import * as orders from "../orders.js";
import * as sale from "../sale.js";
import { meaning, standing, status, whyNot } from "../sentences.js";
import * as session from "../session.js";
import { announce } from "../shared/announce.js";
import { attribute, busy, byId, el, list, text, textIfAny } from "../shared/dom.js";

// An order that has no answer after this time may be cancelled before its units are held.
const LONG = 15_000;
const LAST_MINUTE = 60_000;

const notes = { unread: "Reading your orders…", read: "You have no orders yet.", failed: "Your orders cannot be read just now." };

let asked = null;
// By order: the sentence that was said last, and whether its last minute was announced.
let said = new Map();

export function show() {
  orders.changes.listen(draw);
  sale.looks.listen(draw);
  session.changes.listen(() => {
    if (!session.user()) said = new Map();
  });
  everySecond(() => {
    drawHolds();
    orders.tend();
  });
  byId("order-list").addEventListener("click", ({ target }) => {
    const button = target.closest(".cancel");
    if (button) askToCancel(button.closest(".order").dataset.orderId);
  });
  byId("cancel-no").addEventListener("click", () => byId("cancel-dialog").close());
  byId("cancel-yes").addEventListener("click", cancel);
  byId("orders-older").addEventListener("click", ({ currentTarget }) => more(currentTarget));
}

const more = (button) => busy(button, () => orders.loadOlder().catch((refusal) => announce(whyNot(refusal))));

// Where the shop takes payments: the address that the page was served with, or null where there is none.
function paymentAddress(orderId) {
  const template = document.querySelector('meta[name="payment-url"]')?.content ?? "";
  try {
    const url = new URL(template.replaceAll("{orderId}", encodeURIComponent(orderId)));
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

const what = (order) => order.items.map(({ sku, quantity }) => `${count(quantity)} × ${sale.nameOf(sku)}`).join(", ");

function draw() {
  const { state, hasOlder } = orders.standing();
  const shown = orders.list();
  byId("orders-older").hidden = !hasOlder;
  textIfAny(byId("orders-note"), state === "failed" || shown.length === 0 ? notes[state] : "");
  list(byId("order-list"), shown, ({ _id }) => _id, make, update);
  drawHolds();
}

function make({ _id }) {
  return el(
    "li",
    { class: "order", "data-order-id": _id },
    el("h3", { class: "what" }),
    el("p", {}, el("span", { class: "status" }), " ", el("span", { class: "says" })),
    el("p", { class: "paid" }),
    el(
      "div",
      { class: "hold" },
      el("p", { class: "hold-line" }, "Time left to pay: ", el("span", { class: "hold-countdown", role: "timer" })),
      el("a", { class: "pay button main" }, "Pay"),
      el("button", { type: "button", class: "cancel" }, "Cancel the order"),
    ),
  );
}

function update(node, order) {
  const of = (selector) => node.querySelector(selector);
  const sentence = standing(order);
  attribute(node, "data-status", order.status);
  text(of(".what"), what(order));
  text(of(".status"), `${status(order)}.`);
  text(of(".says"), meaning(order));
  text(of(".paid"), `${money(order.totalAmount, order.currency)} · ordered ${time(order.createdAt)}`);
  const before = said.get(order._id);
  if (before && before.sentence !== sentence) announce(`${what(order)}: ${sentence}`, order._id);
  said.set(order._id, { sentence, isLate: before?.isLate ?? false });
}

function drawHolds() {
  for (const node of byId("order-list").children) {
    const order = orders.get(node.dataset.orderId);
    if (order) drawHold(node, order);
  }
}

function drawHold(node, order) {
  const isHeld = orders.waitsForPayment(order);
  const left = isHeld ? Date.parse(order.holdExpiresAt) - now() : 0;
  const isLong = order.status === "PENDING" && now() - Date.parse(order.createdAt) > LONG;
  node.querySelector(".hold").hidden = !isHeld && !isLong;
  node.querySelector(".hold-line").hidden = !isHeld;
  text(node.querySelector(".hold-countdown"), left > 0 ? countdown(left) : "none; the shop is asked what became of it");
  const pay = node.querySelector(".pay");
  const address = isHeld && left > 0 ? paymentAddress(order._id) : null;
  attribute(pay, "href", address);
  attribute(pay, "aria-label", `Pay for ${what(order)}`);
  pay.hidden = address === null;
  attribute(node.querySelector(".cancel"), "aria-label", `Cancel the order of ${what(order)}`);
  const told = said.get(order._id);
  if (isHeld && told && !told.isLate && left > 0 && left < LAST_MINUTE) {
    told.isLate = true;
    announce(`${what(order)}: less than a minute is left to pay.`, order._id);
  }
}

function askToCancel(id) {
  asked = id;
  const order = orders.get(id);
  if (!order) return;
  text(byId("cancel-what"), what(order));
  textIfAny(byId("cancel-error"), "");
  byId("cancel-dialog").showModal();
  byId("cancel-no").focus();
}

async function cancel() {
  await busy(byId("cancel-yes"), async () => {
    try {
      await orders.cancel(asked);
      byId("cancel-dialog").close();
      // Its button is gone.
      byId("orders-title").focus();
    } catch (refusal) {
      textIfAny(byId("cancel-error"), whyNot(refusal, { doing: "cancel", nameOf: sale.nameOf }));
    }
  });
}
