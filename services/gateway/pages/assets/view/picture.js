// A product's picture, or one drawn from its SKU where there is none.
import { el, svg } from "../shared/dom.js";

// The address of a picture that the page may load, or null.
function address(imageUrl) {
  if (!imageUrl) return null;
  try {
    const url = new URL(imageUrl, location.href);
    const isAllowed = url.protocol === "https:" || url.protocol === "data:" || url.origin === location.origin;
    return isAllowed ? url.href : null;
  } catch {
    return null;
  }
}

// The name stands beside the picture, which says nothing more to somebody who does not see it.
export function picture(sku, imageUrl) {
  const src = address(imageUrl);
  if (!src) return drawn(sku);
  const attributes = { class: "picture", src, alt: "", loading: "lazy", decoding: "async", width: 400, height: 300 };
  const image = el("img", { ...attributes, referrerpolicy: "no-referrer" });
  image.addEventListener("error", () => image.replaceWith(drawn(sku)));
  return image;
}

// FNV-1a: the same SKU has the same picture everywhere.
function hash(text) {
  let value = 0x811c9dc5;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 0x01000193) >>> 0;
  return value;
}

// Squares that mirror each other, in two colours.
function drawn(sku) {
  const hue = hash(sku) % 360;
  const image = svg("svg", { class: "picture", viewBox: "0 0 12 9", "shape-rendering": "crispEdges", "aria-hidden": "true" });
  image.append(svg("rect", { width: 12, height: 9, fill: `hsl(${hue} 45% 82%)` }));
  for (let row = 0; row < 5; row += 1) {
    for (let column = 0; column < 3; column += 1) {
      if (hash(`${sku}/${row}/${column}`) % 100 >= 55) continue;
      for (const x of new Set([column, 4 - column])) {
        image.append(svg("rect", { x: 3.5 + x, y: 2 + row, width: 1, height: 1, fill: `hsl(${hue} 45% 38%)` }));
      }
    }
  }
  return image;
}
