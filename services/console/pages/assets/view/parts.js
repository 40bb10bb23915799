// Small parts that many views are made of.
import { count, time, utc } from "../format.js";
import { judgement, whyNot, words } from "../sentences.js";
import { el } from "../shared/dom.js";

export const heading = (level, ...children) => el(`h${level}`, { tabindex: "-1" }, ...children);

// A time of the reader's, with the one of everybody as its title.
export function moment(rfc3339) {
  if (!rfc3339) return el("span", {}, "–");
  return el("time", { datetime: rfc3339, title: utc(rfc3339) }, time(rfc3339));
}

export const failure = (refusal) => el("p", { class: "error", role: "alert" }, whyNot(refusal));

export const note = (sentence) => el("p", { class: "hint" }, sentence);

export const link = (href, ...children) => el("a", { href }, ...children);

export const code = (value) => el("code", {}, String(value ?? "–"));

// A word with a colour and a mark. `kind` is good, bad or none.
export const badge = (word, kind = "none") => el("span", { class: "badge", "data-kind": kind }, word);

const kindOf = (good) => (good === true ? "good" : good === false ? "bad" : "none");

const marks = { good: "✓", bad: "!", none: "·" };

// A mark that is seen, with its word for those who do not see it.
export function mark(good) {
  const kind = kindOf(good);
  return el(
    "span",
    { class: "mark", "data-kind": kind },
    el("span", { "aria-hidden": "true" }, marks[kind]),
    el("span", { class: "for-readers" }, `${judgement(good)}: `),
  );
}

// What is sold of the stock, as a bar and as words.
export function soldBar({ sold, stock }, of) {
  const bar = el("progress", { value: Math.min(sold, stock), max: Math.max(1, stock), "aria-label": `Sold of ${of}` });
  return el("span", { class: "sold" }, bar, el("span", {}, `${count(sold)} of ${count(stock)}`));
}

// A section of a view below its heading.
export function part(title, ...content) {
  return el("section", { class: "part" }, heading(3, title), ...content);
}

// Names and values as a list of descriptions.
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, ...shown.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

const statusKinds = { CONFIRMED: "good", FAILED: "bad", EXPIRED: "bad" };

export const statusBadge = (status) => badge(words(status).toLowerCase(), statusKinds[status]);

export function field(label, input, hint = null) {
  const id = input.id;
  const hintId = hint ? `${id}-hint` : null;
  if (hintId) input.setAttribute("aria-describedby", hintId);
  return el(
    "div",
    { class: "field" },
    el("label", { for: id }, label),
    input,
    ...(hint ? [el("p", { class: "hint", id: hintId }, hint)] : []),
  );
}

// A list to choose from; `options` are pairs of a value and its name.
export function choice(id, options, chosen) {
  const entries = options.map(([value, name]) => el("option", { value, selected: value === chosen }, name));
  return el("select", { id, name: id }, ...entries);
}

export function button(label, onPress, kind = null) {
  const made = el("button", { type: "button", class: kind }, label);
  made.addEventListener("click", onPress);
  return made;
}

// Gives each row a `key` of its own, also where two look the same. The oldest row is the last one.
export function distinct(rows, keyOf) {
  const seen = new Map();
  return rows
    .toReversed()
    .map((row) => {
      const key = keyOf(row);
      const times = (seen.get(key) ?? 0) + 1;
      seen.set(key, times);
      return { ...row, key: `${key} ${times}` };
    })
    .toReversed();
}
