// A message of a topic: one line that opens to its headers and its value.
import { bytes, count, pretty } from "../format.js";
import { el, replace } from "../shared/dom.js";
import { code, facts, moment } from "./parts.js";

const PREVIEW = 160;

const bodyOf = ({ value, text }) => (value !== null && value !== undefined ? pretty(value) : (text ?? ""));

// `place` names its topic where messages of several are shown. What is inside is made when it is opened.
export function messageNode(message, { place = null, isOpen = false } = {}) {
  const body = el("div", { class: "message-body" });
  const node = el("details", { class: "message", open: isOpen }, el("summary", {}, ...headline(message, place)), body);
  const fill = () => node.open && body.childElementCount === 0 && replace(body, ...inside(message));
  node.addEventListener("toggle", fill);
  fill();
  return node;
}

function headline({ offset, time, key, value, text }, place) {
  const preview = value !== null && value !== undefined ? JSON.stringify(value) : (text ?? "");
  return [
    el("b", {}, place ? `${place} ` : "", `#${count(offset)}`),
    " ",
    moment(time),
    " ",
    el("span", { class: "key" }, key ?? "no key"),
    " ",
    el("span", { class: "preview" }, preview.length > PREVIEW ? `${preview.slice(0, PREVIEW)}…` : preview),
  ];
}

function inside(message) {
  const { key, offset, time, headers, size } = message;
  const body = bodyOf(message);
  const about = facts([
    ["Offset", String(offset)],
    ["Time", moment(time)],
    ["Key", code(key ?? "none")],
    ["Size", bytes(size)],
    ...headers.map(({ name, value }) => [`Header ${name}`, code(value)]),
  ]);
  const isCut = message.value === null && size > 65_536;
  const label = `Value of the message ${offset}`;
  return [
    about,
    ...(isCut ? [el("p", { class: "hint" }, "The text is cut: it is longer than what is shown.")] : []),
    body === ""
      ? el("p", { class: "hint" }, "It has no value.")
      : el("pre", { tabindex: "0", role: "region", "aria-label": label }, body),
  ];
}
