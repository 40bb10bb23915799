// Money and durations as people write them, in the browser's English.
export const english = (navigator.languages ?? []).find((language) => /^en\b/i.test(language)) ?? "en";

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
  const whole = Math.max(1, Math.ceil(seconds));
  if (whole < 100) return whole === 1 ? "1 second" : `${whole} seconds`;
  const minutes = Math.ceil(whole / 60);
  return minutes < 100 ? `${minutes} minutes` : `${Math.ceil(minutes / 60)} hours`;
}
