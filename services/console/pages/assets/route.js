// Where somebody is, as the part of the address behind the #: `#/sale/shop/laptops/orders?status=FAILED`.
import { withQuery } from "./api.js";

export const TABS = {
  overview: "Overview",
  report: "Report",
  orders: "Orders",
  topics: "Topics",
  lanes: "Lanes",
  "dead-letters": "Dead letters",
  ledger: "Ledger and audit",
  log: "Log",
};

// `{view, namespace, name, tab, rest, query}`; `rest` are the parts behind the tab.
export function parse(hash) {
  const [path, query = ""] = splitOnce(hash.replace(/^#/, ""), "?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  const found = { path, query: Object.fromEntries(new URLSearchParams(query)) };
  if (parts.length === 0) return { ...found, view: "sales" };
  const [first, namespace, name, tab = "overview", ...rest] = parts;
  const isSale = first === "sale" && namespace && name && Object.hasOwn(TABS, tab);
  return isSale ? { ...found, view: "sale", namespace, name, tab, rest } : { ...found, view: "nothing" };
}

function splitOnce(text, at) {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// The address of a sale's tab, or of what is in it.
export function toSale({ namespace, name }, tab = "overview", rest = [], query = {}) {
  const path = ["sale", namespace, name, tab, ...rest].map((part) => encodeURIComponent(part)).join("/");
  return withQuery(`#/${path}`, query);
}

export const toSales = (query = {}) => withQuery("#/", query);

// Goes to an address; the back button comes back.
export function go(hash) {
  location.hash = hash;
}

// Keeps an address for a reload or a link, without a step for the back button.
export function keep(hash) {
  history.replaceState(null, "", hash);
}
