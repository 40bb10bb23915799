// Numbers, money, times and durations as people write them.
const english = (navigator.languages ?? []).find((language) => /^en\b/i.test(language)) ?? "en";

// An amount as the API gives it. It is shown with all its digits: currencies differ in how many they have.
export function money(amount, currency) {
  const written = /\.(\d+)$/.exec(String(amount))?.[1].length ?? 0;
  try {
    const usual = new Intl.NumberFormat(english, { style: "currency", currency });
    if (usual.resolvedOptions().maximumFractionDigits >= written) return usual.format(amount);
    const digits = { minimumFractionDigits: written, maximumFractionDigits: written };
    return new Intl.NumberFormat(english, { style: "currency", currency, ...digits }).format(amount);
  } catch {
    return `${amount} ${currency ?? ""}`.trim();
  }
}

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

// What a countdown shows: 2 d 03:04:05, 03:04:05 or 04:05.
export function countdown(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000));
  const two = (number) => String(number).padStart(2, "0");
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor(seconds / 3_600) % 24;
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  if (days > 0) return `${days} d ${two(hours)}:${rest}`;
  return hours > 0 ? `${two(hours)}:${rest}` : rest;
}

// A wait in a sentence.
export function wait(seconds) {
  const full = Math.max(1, Math.ceil(seconds));
  if (full < 100) return counted(full, "second");
  const minutes = Math.ceil(full / 60);
  return minutes < 100 ? `${minutes} minutes` : `${Math.ceil(minutes / 60)} hours`;
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
