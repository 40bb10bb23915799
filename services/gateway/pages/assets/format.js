// Numbers, money, times and durations as people write them.
import { english } from "./shared/format.js";

export { countdown, money, wait } from "./shared/format.js";

export const count = (number) => new Intl.NumberFormat(english).format(number);

const timeOfDay = new Intl.DateTimeFormat(english, { hour: "numeric", minute: "2-digit" });
const full = new Intl.DateTimeFormat(english, { dateStyle: "medium", timeStyle: "short" });

// A time: of today the hour and minute are enough.
export function time(rfc3339) {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return "";
  return at.toDateString() === new Date().toDateString() ? timeOfDay.format(at) : full.format(at);
}
