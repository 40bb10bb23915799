// Round numbers and times for the axes of a chart.
const MINUTE = 60_000;
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360].map((minutes) => minutes * MINUTE);

// Ticks from 0 to a round number that no value is above, about so many.
export function numberTicks(highest, wanted = 4) {
  const most = highest > 0 ? highest : 1;
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((times) => times * power).find((size) => size >= raw * 0.999);
  const number = Math.ceil((most / step) * 0.999);
  return Array.from({ length: number + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

// Full minutes or hours of the reader's clock between two times, at most so many.
export function timeTicks(from, to, most = 6) {
  const step = TIME_STEPS.find((size) => (to - from) / size <= most) ?? TIME_STEPS.at(-1);
  const shift = new Date(from).getTimezoneOffset() * MINUTE;
  const first = Math.ceil((from - shift) / step) * step + shift;
  const ticks = [];
  for (let at = first; at <= to; at += step) ticks.push(at);
  return ticks;
}
