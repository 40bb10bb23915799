// Entries of the ledger as a table.
import { count, counted } from "../format.js";
import { toSale } from "../route.js";
import { words } from "../sentences.js";
import { el } from "../shared/dom.js";
import { code, link, moment } from "./parts.js";
import { table } from "./table.js";

// `of` is an order, of which alone the units are shown.
export function entries({ caption, sale, none, of = null }) {
  return table({ caption, columns: columns(sale, of), keyOf: ({ _id }) => _id, none });
}

function columns(sale, of) {
  return [
    { head: "Number", number: true, cell: ({ number }) => count(number) },
    { head: "At", cell: ({ at }) => moment(at) },
    ...(of ? [{ head: "Product", cell: ({ product }) => skuOf(sale, product) }] : []),
    { head: "Cause", cell: ({ cause }) => words(cause).toLowerCase() },
    { head: "From → to", cell: ({ from, to }) => `${words(from).toLowerCase()} → ${words(to).toLowerCase()}` },
    { head: "Units", number: true, cell: ({ units, lines }) => count(of ? (unitsOf(lines, of) ?? units) : units) },
    ...(of ? [] : [{ head: "Orders", cell: (entry) => ordersOf(sale, entry) }]),
  ];
}

const skuOf = ({ latest }, id) => latest?.products.find(({ _id }) => _id === id)?.sku ?? id;

const unitsOf = (lines, order) => lines.find((line) => line.order === order)?.units;

function ordersOf(sale, { lines, moreLines }) {
  if (lines.length === 0) return "–";
  const items = lines.map(({ order, units }) =>
    el("li", {}, link(toSale(sale, "orders", [order]), code(order)), ` ${counted(units, "unit")}`),
  );
  const more = moreLines > 0 ? [el("li", {}, `and ${counted(moreLines, "more order", "more orders")}`)] : [];
  const all = el("ul", { class: "lines" }, ...items, ...more);
  if (lines.length <= 3) return all;
  return el("details", {}, el("summary", {}, counted(lines.length + moreLines, "order")), all);
}
