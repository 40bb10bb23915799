// The sale's countdown, and its products with what is left of them.
import * as attempts from "../attempts.js";
import { everySecond } from "../shared/clock.js";
import { count, countdown, money, time, wait } from "../format.js";
import * as orders from "../orders.js";
import * as sale from "../sale.js";
import { standing, whyNot } from "../sentences.js";
import * as session from "../session.js";
import { openAccount } from "./account.js";
import { announce } from "../shared/announce.js";
import { attribute, byId, el, list, text, textIfAny } from "../shared/dom.js";
import { picture } from "./picture.js";

const headings = {
  unknown: "Asking for the sale…",
  before: "The sale has not opened yet",
  open: "The sale is open",
  paused: "The sale is paused",
  over: "The sale is over",
};
const moments = { before: "Opens:", open: "Ends:", paused: "Ends:", over: "Ended:" };
let stageBefore = "unknown";

export function show() {
  sale.looks.listen(({ refusal }) => {
    drawTimes();
    drawProducts();
    const place = byId("sale-error");
    const wasHidden = place.hidden;
    textIfAny(place, refusal && `${whyNot(refusal)} What is shown here may be old.`);
    if (wasHidden && refusal) announce(whyNot(refusal));
  });
  attempts.changes.listen(drawProducts);
  orders.changes.listen(drawProducts);
  session.changes.listen(drawProducts);
  everySecond(drawTimes);
  byId("products").addEventListener("submit", buy);
}

function drawTimes() {
  const stage = sale.stage();
  const left = sale.untilNext();
  const { opensAt, closesAt } = sale.current() ?? {};
  attribute(byId("sale"), "data-stage", stage);
  text(byId("stage"), headings[stage]);
  byId("countdown-line").hidden = left === null;
  if (left !== null) {
    text(byId("countdown-label"), stage === "before" ? "Opens in" : "Ends in");
    text(byId("countdown"), countdown(left));
  }
  const at = stage === "before" ? opensAt : closesAt;
  textIfAny(byId("sale-when"), at && `${moments[stage]} ${time(at)}`);
  if (stage !== stageBefore) {
    if (stageBefore !== "unknown") announce(`${headings[stage]}.`);
    stageBefore = stage;
    drawProducts();
  } else if (hasWaits) {
    drawProducts();
  }
}

// Whether a product waits for a time to pass.
let hasWaits = false;

function drawProducts() {
  const products = sale.current()?.products ?? [];
  hasWaits = false;
  byId("no-products").hidden = !sale.current() || products.length > 0;
  list(byId("products"), products, ({ sku }) => sku, make, update);
}

function make({ sku }) {
  const id = `product-${sku}`;
  const units = { id: `${id}-units`, class: "quantity", name: "quantity", type: "number", min: 1, value: 1, required: true };
  const form = el(
    "form",
    { class: "buy", method: "post", action: "/" },
    el("label", { class: "quantity-label", id: `${id}-label`, for: `${id}-units` }, "Units"),
    el("input", { ...units, "aria-labelledby": `${id}-label ${id}-name` }),
    el("button", { type: "submit", class: "main", id: `${id}-buy`, "aria-labelledby": `${id}-buy ${id}-name` }, "Buy"),
  );
  return el(
    "li",
    { class: "product", "data-sku": sku },
    picture(sku),
    el(
      "div",
      { class: "about" },
      el("h3", { id: `${id}-name`, class: "name" }),
      el(
        "p",
        { class: "prices" },
        el("span", { class: "for-readers" }, "Price: "),
        el("strong", { class: "price" }),
        " ",
        el("span", { class: "was-line" }, el("span", { class: "for-readers" }, "before the sale: "), el("s", { class: "was" })),
      ),
      el("p", { class: "left" }),
      el("progress", { class: "stock", "aria-hidden": "true", max: 1, value: 0 }),
      el("p", { class: "limit" }),
    ),
    form,
    el("p", { class: "result" }),
  );
}

function update(node, product) {
  const { sku, name, price, originalPrice, currency, stock, available, limitPerCustomer, imageUrl } = product;
  const of = (selector) => node.querySelector(selector);
  if (node.dataset.image !== (imageUrl ?? "")) {
    node.dataset.image = imageUrl ?? "";
    of(".picture").replaceWith(picture(sku, imageUrl));
  }
  text(of(".name"), name);
  text(of(".price"), money(price, currency));
  of(".was-line").hidden = originalPrice === null || originalPrice === undefined;
  if (!of(".was-line").hidden) text(of(".was"), money(originalPrice, currency));
  const left = Math.max(0, available);
  attribute(of(".left"), "data-left", left);
  text(of(".left"), left === 0 ? "None left now" : `${count(left)} of ${count(stock)} left`);
  of(".stock").max = Math.max(1, stock);
  of(".stock").value = left;
  textIfAny(of(".limit"), limitPerCustomer ? `At most ${count(limitPerCustomer)} for each customer` : "");
  updateForm(node, product);
}

function updateForm(node, { sku, limitPerCustomer, available }) {
  const stage = sale.stage();
  const attempt = attempts.standing(sku);
  const isOpen = attempt && ["sending", "again", "asking", "unknown"].includes(attempt.phase);
  const most = Math.max(1, Math.min(100, limitPerCustomer ?? 100));
  const units = node.querySelector(".quantity");
  attribute(units, "max", most);
  attribute(units, "readonly", Boolean(isOpen));
  if (isOpen && units.value !== String(attempt.quantity)) units.value = attempt.quantity;
  units.hidden = most === 1 && !isOpen;
  node.querySelector(".quantity-label").hidden = units.hidden;

  const said = saying(attempt);
  const button = node.querySelector("button");
  const waits = attempt?.retryAt > Date.now();
  hasWaits ||= waits;
  let label = "Buy";
  let isOff = false;
  if (isOpen) {
    label = attempt.phase === "unknown" ? "Send again" : "Buying…";
    isOff = attempt.phase !== "unknown";
  } else if (stage === "over") {
    label = "Over";
    isOff = true;
  } else if (!session.user()) {
    label = "Log in to buy";
  } else if (stage !== "open") {
    label = stage === "paused" ? "Paused" : "Not open yet";
    isOff = true;
  } else if (attempt?.restsUntil > Date.now()) {
    label = "Ordered";
    isOff = true;
    hasWaits = true;
  } else if (waits) {
    label = `Buy in ${wait((attempt.retryAt - Date.now()) / 1_000)}`;
    isOff = true;
  } else if (available < 1) {
    label = "None left";
    isOff = true;
  }
  text(button, label);
  attribute(button, "aria-disabled", isOff ? "true" : null);
  const result = node.querySelector(".result");
  textIfAny(result, said?.sentence);
  attribute(result, "data-phase", attempt?.phase ?? null);
  attribute(result, "data-kind", said?.kind ?? null);
  if (said && !isOpen && !announced.has(attempt)) {
    announced.add(attempt);
    announce(`${sale.nameOf(sku)}: ${said.sentence}`, attempt.orderId ?? sku);
  }
}

// Tries whose outcome was read out. What becomes of their orders later is for the list of orders to tell.
const announced = new WeakSet();

// What is said of a try to buy, and whether it is `good`, `bad` or not decided.
function saying(attempt) {
  switch (attempt?.phase) {
    case "sending":
      return { sentence: "Your order is on its way…" };
    case "again":
      return { sentence: "The shop has not answered yet. Your order is sent again; it is never made twice." };
    case "asking":
      return { sentence: "Asking the shop what became of your last try…" };
    case "unknown":
      return {
        sentence: "It is not known yet whether your order was accepted. The shop is asked again; it is never made twice.",
      };
    case "refused":
      return { sentence: whyNot(attempt.refusal, { doing: "order", nameOf: sale.nameOf }), kind: "bad" };
    case "accepted": {
      const order = orders.get(attempt.orderId);
      if (!order) return null;
      const kind = { CONFIRMED: "good", FAILED: "bad", EXPIRED: "bad" }[order.status];
      return { sentence: standing(order), kind };
    }
    default:
      return null;
  }
}

function buy(event) {
  event.preventDefault();
  const form = event.target;
  const { sku } = form.closest(".product").dataset;
  if (form.querySelector("button").getAttribute("aria-disabled") === "true") return;
  if (!session.user()) {
    openAccount("login");
    return;
  }
  attempts.buy(sku, form.elements.quantity.valueAsNumber);
}
