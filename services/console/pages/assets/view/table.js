// A table that scrolls inside of its own region. A row that stays keeps its element.
import { el, list, put } from "../shared/dom.js";

// `columns` are `{head, cell(row), number?}`; the first one heads its row. `draw(rows)` shows them.
export function table({ caption, columns, keyOf, none = "There is nothing to show.", isQuiet = false }) {
  const head = el("tr", {}, ...columns.map(({ head, number }) => el("th", { scope: "col", class: number && "number" }, head)));
  const body = el("tbody");
  const words = el("caption", { class: isQuiet ? "for-readers" : null }, caption);
  const shell = el("table", {}, words, el("thead", {}, head), body);
  const region = el("div", { class: "scrolls", role: "region", "aria-label": caption, tabindex: "0" }, shell);
  const empty = el("p", { class: "hint", hidden: true }, none);
  const make = () => el("tr", {}, ...columns.map(cellFor));
  const update = (node, row) => columns.forEach(({ cell }, index) => put(node.children[index], cell(row)));
  return {
    node: el("div", { class: "table" }, region, empty),
    draw(rows) {
      list(body, rows, keyOf, make, update);
      region.hidden = rows.length === 0;
      empty.hidden = rows.length > 0;
    },
  };
}

function cellFor({ number }, index) {
  const attributes = { class: number && "number" };
  return index === 0 ? el("th", { ...attributes, scope: "row" }) : el("td", attributes);
}
