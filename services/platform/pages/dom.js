// Building and changing the page. Whatever comes from the server becomes text or an attribute, never markup.
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  node.append(...children);
  return node;
}

// Sets an attribute, `true` as an empty one, and takes away what is null or false.
export function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
}

// Sets a text. What stays the same is left alone, so that nothing is read out or redrawn for it.
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

// Sets a text that has its place only while there is one.
export function textIfAny(node, value) {
  text(node, value ?? "");
  node.hidden = !value;
}

// Whether the focus is on nothing: what had it is gone or hidden.
export function isFocusLost() {
  const focused = document.activeElement;
  return !focused || focused === document.body || focused.getClientRects().length === 0;
}

const kept = new WeakMap();

// Makes the children of a node those of a list. An item that was there keeps its element, and with it the focus.
export function list(parent, items, keyOf, make, update) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map();
  const stay = new Set(items.map(keyOf));
  for (const [key, node] of before) if (!stay.has(key)) node.remove();
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const node = before.get(key) ?? make(item);
    after.set(key, node);
    update(node, item);
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  kept.set(parent, after);
}

// While work goes on, its button does nothing more and says that it is busy.
export async function busy(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  attribute(button, "aria-disabled", "true");
  attribute(button, "aria-busy", "true");
  try {
    await work();
  } finally {
    attribute(button, "aria-disabled", null);
    attribute(button, "aria-busy", null);
  }
}

// Puts other children into a node.
export const replace = (node, ...children) => node.replaceChildren(...children.filter(Boolean));

// Puts a node or a text into a place. What looks the same is left alone, and keeps its focus.
export function put(place, content) {
  if (!(content instanceof Node)) return text(place, String(content ?? ""));
  const before = place.firstChild;
  if (before && before === place.lastChild && before.isEqualNode(content)) return;
  place.replaceChildren(content);
}
