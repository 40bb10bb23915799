// Countdowns by the server's clock. All of them go on together, once a second.
import { now } from "../shared/clock.js";
import { countdown } from "../format.js";
import { el, text } from "../shared/dom.js";

const left = (at) => countdown(Date.parse(at) - now());

// "Closes in 04:05", or nothing where there is nothing to wait for.
export function countingTo(next) {
  if (!next) return "";
  return el(
    "span",
    { class: "countdown" },
    `${next.label} `,
    el("span", { role: "timer", "data-until": next.at }, left(next.at)),
  );
}

export function tick() {
  for (const node of document.querySelectorAll("[data-until]")) text(node, left(node.dataset.until));
}
