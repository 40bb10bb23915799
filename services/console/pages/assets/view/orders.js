// The orders of a sale: the newest, or those that are looked for.
import { count, money } from "../format.js";
import { go, toSale } from "../route.js";
import { orderStatus } from "../sentences.js";
import { busy, el, replace } from "../shared/dom.js";
import { paged } from "./paging.js";
import { button, choice, code, field, link, moment, statusBadge } from "./parts.js";
import { table } from "./table.js";

const STATUSES = ["PENDING", "CONFIRMED", "FAILED", "CANCELLED", "EXPIRED"].map((status) => [status, orderStatus(status)]);

// What can be looked for, and the fields that it takes.
const WAYS = { newest: [], id: ["id"], user: ["user"], key: ["user", "key"], status: ["status"] };
const NAMES = [
  ["newest", "the newest"],
  ["id", "the id of an order"],
  ["user", "a user"],
  ["key", "an idempotency key of a user"],
  ["status", "a status"],
];

const wayOf = ({ id, user, key, status }) => (id ? "id" : key ? "key" : user ? "user" : status ? "status" : "newest");

function queryOf({ query }) {
  return Object.fromEntries(WAYS[wayOf(query)].map((name) => [name, query[name]]));
}

export function show(place, route, life, { sale }) {
  let query = queryOf(route);
  const form = searchForm(sale);
  const orders = table({
    caption: "Orders, newest first",
    columns: columns(sale),
    keyOf: ({ _id }) => _id,
    none: "There is no such order.",
  });
  const pages = paged(life, { path: () => `${sale.path}/orders`, query: () => query, draw: orders.draw });
  const again = button("Look again", () => busy(again, pages.read));
  replace(place, form.node, el("div", { class: "choices" }, again), orders.node, pages.node);
  form.fill(query);
  void pages.read();
  return {
    turn(next) {
      query = queryOf(next);
      form.fill(query);
      void pages.read();
    },
  };
}

function searchForm(sale) {
  const text = (id, attributes = {}) =>
    el("input", { id, autocomplete: "off", spellcheck: "false", maxlength: "254", required: true, ...attributes });
  const way = choice("way", NAMES, "newest");
  const inputs = { id: text("id"), user: text("user"), key: text("key"), status: choice("status", STATUSES, "PENDING") };
  const fields = {
    id: field("Id of the order", inputs.id),
    user: field("User", inputs.user, "An id or an email address."),
    key: field("Idempotency key", inputs.key),
    status: field("Status", inputs.status),
  };
  const submit = el("button", { type: "submit", class: "main" }, "Look for it");
  const node = el(
    "form",
    { role: "search", "aria-label": "Orders", class: "row" },
    field("Look for", way),
    ...Object.values(fields),
    submit,
  );
  const draw = () => {
    for (const [name, part] of Object.entries(fields)) {
      part.hidden = !WAYS[way.value].includes(name);
      inputs[name].disabled = part.hidden;
    }
  };
  way.addEventListener("change", draw);
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    go(toSale(sale, "orders", [], Object.fromEntries(WAYS[way.value].map((name) => [name, inputs[name].value.trim()]))));
  });
  return {
    node,
    fill(query) {
      way.value = wayOf(query);
      for (const [name, input] of Object.entries(inputs)) if (query[name]) input.value = query[name];
      draw();
    },
  };
}

export const itemsOf = ({ items }) => items.map(({ quantity, sku }) => `${count(quantity)} × ${sku}`).join(", ");

function columns(sale) {
  return [
    { head: "Order", cell: ({ _id }) => link(toSale(sale, "orders", [_id]), code(_id)) },
    { head: "Made", cell: ({ createdAt }) => moment(createdAt) },
    { head: "Status", cell: ({ status }) => statusBadge(status) },
    { head: "Items", cell: itemsOf },
    { head: "Amount", number: true, cell: ({ totalAmount, currency }) => money(totalAmount, currency) },
    { head: "User", cell: ({ userId }) => link(toSale(sale, "orders", [], { user: userId }), code(userId)) },
    { head: "Message", cell: ({ message, reason }) => message || reason || "–" },
  ];
}
