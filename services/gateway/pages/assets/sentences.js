// What the shop says to people: about refusals, and about where an order stands.
import { count, time, wait } from "./format.js";

const after = ({ retryAfter }) => (retryAfter ? `in ${wait(retryAfter)}` : "in a moment");
const reference = ({ requestId }) => (requestId ? ` If you ask the shop for help, give this number: ${requestId}` : "");
const endings = {
  CONFIRMED: "It is confirmed already.",
  CANCELLED: "It was cancelled already.",
  EXPIRED: "The time to pay for it has run out.",
  FAILED: "It has failed.",
};
const fields = {
  email: "The email address",
  password: "The password",
  firstName: "The first name",
  lastName: "The last name",
};

function field({ field: path = "", detail = "" }) {
  const name = /(sku|productId)$/.test(path) ? "This product" : /quantity$/.test(path) ? "The number of units" : fields[path];
  return name ? `${name} ${detail.replace(/\.?$/, ".")}` : `${path}: ${detail}`;
}

// One sentence or two for each code. `sku` becomes the product's name; `doing` is what was asked for.
const refusals = {
  invalid_request: ({ problem: { errors = [], detail = "" } }) =>
    errors.length > 0 ? errors.map(field).join(" ") : `The shop cannot take this as it is. ${detail}`,
  unauthenticated: (_, { doing }) =>
    doing === "login" ? "The email address or the password is not right." : "You are no longer logged in. Please log in again.",
  forbidden: (refusal) => `Your account may not do this.${reference(refusal)}`,
  https_required: () => "This shop is open over HTTPS only. Put https in front of its address.",
  not_found: (_, { doing }) =>
    doing === "cancel" ? "There is no such order of yours." : "This is not there any more. Reload the page to see what is.",
  method_not_allowed: () => "This page does not fit the shop any more. Reload it and try again.",
  sold_out: (_, { name }) => `Sold out: every unit of ${name} is sold.`,
  units_held: (refusal, { name }) => {
    const { left } = refusal.problem;
    const others = "Others are held by orders that may not be completed";
    return left > 0
      ? `Only ${count(left)} of ${name} can be ordered now. ${others}: order fewer, or try again ${after(refusal)}.`
      : `No unit of ${name} is free now. ${others}: try again ${after(refusal)}.`;
  },
  sale_not_open: ({ problem: { opensAt } }) =>
    opensAt ? `The sale has not opened yet. It opens at ${time(opensAt)}.` : "The sale has not opened yet.",
  sale_closed: () => "The sale is over.",
  sale_halted: () => "The sale is paused. Please come back in a moment.",
  customer_limit: ({ problem: { limit } }, { name }) =>
    limit
      ? `Each customer may buy ${count(limit)} of ${name} at the most, counted over all orders.`
      : `You cannot buy more of ${name}.`,
  stale_version: () => "This was changed in the meantime. Reload the page and try again.",
  stock_committed: () => "These units are held or sold already.",
  email_taken: () => "There is an account with this email address already. Log in instead.",
  sku_taken: () => "There is a product with this SKU already.",
  name_taken: () => "This name is taken already.",
  too_many: () => "There are as many of these as there may be.",
  not_held_yet: (refusal) => `The units of this order are not held yet. Try again ${after(refusal)}.`,
  order_final: ({ problem: { orderStatus } }) => `This order cannot be changed any more. ${endings[orderStatus] ?? ""}`.trim(),
  payload_too_large: () => "This is more than the shop takes at once. Send less.",
  unsupported_media_type: () => "This page does not fit the shop any more. Reload it and try again.",
  idempotency_key_reused: () => "This try was used for another order. Look at your orders, then buy again if you still want to.",
  rate_limited: (refusal, { doing }) =>
    doing === "login"
      ? `There were too many tries to log in. Try again ${after(refusal)}.`
      : `That was too often. Try again ${after(refusal)}.`,
  internal: (refusal) => `Something went wrong in the shop. Please try again later.${reference(refusal)}`,
  busy: (refusal) => `The shop is very busy. Please try again ${after(refusal)}.`,
  not_made: () => "Your order did not reach the shop, and nothing was ordered. Buy again if you still want to.",
  unreachable: () => "The shop cannot be reached. Look at your connection, then try again.",
  timeout: () => "The shop did not answer in time. Please try again.",
};

// Why something was refused. `nameOf` knows the names of products.
export function whyNot(refusal, { doing = "", nameOf = (sku) => sku } = {}) {
  const sku = refusal.problem?.sku;
  const name = sku ? nameOf(sku) : "this product";
  const known = Object.hasOwn(refusals, refusal.code) ? refusals[refusal.code] : null;
  if (known) return known(refusal, { doing, name });
  if (refusal.status === 502 || refusal.status === 503 || refusal.status === 504) return refusals.busy(refusal);
  const title = refusal.problem?.title;
  return `${title ? `${title}.` : "Something went wrong that this page does not know."} Please try again later.${reference(refusal)}`;
}

const failures = {
  sold_out: "Sold out: no units were left when this order's turn came.",
  unknown_product: "This product is not sold any more.",
  unprocessable: "The order could not be processed.",
  payment_failed: "The payment failed, and the order is over. Place a new one to try again.",
};

const names = { PENDING: "Waiting", CONFIRMED: "Confirmed", FAILED: "Failed", CANCELLED: "Cancelled", EXPIRED: "Expired" };

const isHeld = ({ status, holdExpiresAt }) => status === "PENDING" && Boolean(holdExpiresAt);

// Where an order stands, in a word or two. This and what follows also take a notification, which has the same fields.
export const status = (order) => (isHeld(order) ? "Held for you" : (names[order.status] ?? order.status));

// What that means, as a sentence.
export function meaning({ status, holdExpiresAt, reason, message }) {
  switch (status) {
    case "PENDING":
      if (holdExpiresAt) return `Pay before ${time(holdExpiresAt)}, or the units go back.`;
      return "The order is accepted and waits for its turn.";
    case "CONFIRMED":
      return "The units are yours.";
    case "FAILED":
      return failures[reason] ?? message ?? "The order could not be fulfilled.";
    case "CANCELLED":
      return "There is nothing to pay.";
    case "EXPIRED":
      return "The time to pay ran out, and the units went back.";
    default:
      return message ?? "";
  }
}

export const standing = (order) => `${status(order)}. ${meaning(order)}`;
