// Numbers, times and durations as people write them.
import { english } from "./shared/format.js";

export { countdown, money, wait } from "./shared/format.js";

const whole = new Intl.NumberFormat(english);
const signed = new Intl.NumberFormat(english, { signDisplay: "exceptZero" });
const rough = new Intl.NumberFormat(english, { maximumSignificantDigits: 3 });

const isNumber = (number) => typeof number === "number" && Number.isFinite(number);

// A number of things; a dash where it is not known.
export const count = (number) => (isNumber(number) ? whole.format(number) : "–");

export const change = (number) => signed.format(number);

// A measured value: three digits are enough below a thousand.
export function measure(number) {
  if (!isNumber(number)) return "–";
  return Math.abs(number) < 1_000 ? rough.format(number) : whole.format(Math.round(number));
}

// "1 order", "2 orders".
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

const timeOfDay = new Intl.DateTimeFormat(english, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const shortTime = new Intl.DateTimeFormat(english, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const full = new Intl.DateTimeFormat(english, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

// A time: of today the time of day is enough.
export function time(rfc3339) {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return "";
  return at.toDateString() === new Date().toDateString() ? timeOfDay.format(at) : full.format(at);
}

// The hour and minute, for the axis of a chart.
export const clockTime = (at) => shortTime.format(at);

// The same time for everybody, wherever they are.
export function utc(rfc3339) {
  const at = new Date(rfc3339);
  return Number.isNaN(at.getTime()) ? "" : `${at.toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

export function bytes(number) {
  if (!isNumber(number)) return "–";
  return number < 1_024 ? counted(number, "byte") : `${measure(number / 1_024)} KiB`;
}

// A value as people read it: JSON with its lines, anything else as it is.
export function pretty(value) {
  if (typeof value !== "string") return JSON.stringify(value, null, 2);
  try {
    return JSON.stringify(JSON.parse(value), null, 2);
  } catch {
    return value;
  }
}

// A list in a sentence: "a, b and c".
export function together(parts) {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}
