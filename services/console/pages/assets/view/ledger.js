// The ledger of a product, and the audit of the books.
import { go, toSale } from "../route.js";
import { auditOf } from "./audit.js";
import { busy, el, replace } from "../shared/dom.js";
import { entries } from "./entries.js";
import { paged } from "./paging.js";
import { button, field, part } from "./parts.js";

export function show(place, route, life, { sale }) {
  let chosen = route.query.product ?? null;
  const picker = el("select", { id: "product" });
  const shown = entries({ caption: "Entries of the ledger, newest first", sale, none: "Nothing was moved yet." });
  const pages = paged(life, { path: () => `${sale.path}/ledger`, query: () => ({ product: chosen }), draw: shown.draw });
  const again = button("Look again", () => busy(again, pages.read));
  picker.addEventListener("change", () => go(toSale(sale, "ledger", [], { product: picker.value })));
  const choices = el("div", { class: "row" }, field("Product", picker), again);
  replace(place, auditOf(life, sale), part("Ledger", choices, shown.node, pages.node));

  // The products come with the sale; the first of them is shown until another one is chosen.
  const draw = () => {
    const products = sale.latest?.products ?? [];
    if (products.length === 0 || picker.options.length === products.length) return;
    replace(picker, ...products.map(({ _id, sku, name }) => el("option", { value: _id }, `${sku} · ${name}`)));
    if (!products.some(({ _id }) => _id === chosen)) chosen = products[0]._id;
    picker.value = chosen;
    void pages.read();
  };
  life.atEnd(sale.changes.listen(draw));
  draw();
  return {
    turn({ query }) {
      chosen = query.product ?? sale.latest?.products[0]?._id ?? null;
      picker.value = chosen;
      void pages.read();
    },
  };
}
