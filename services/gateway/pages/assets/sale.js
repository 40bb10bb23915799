// The sale as the shop shows it: its times and products, read again and again while the page is seen.
import { call } from "./api.js";
import { Refusal } from "./shared/request.js";
import * as clock from "./shared/clock.js";
import * as session from "./session.js";
import { topic } from "./shared/topic.js";
import { about, alarm, backoff, seen, sleep } from "./shared/wait.js";

// Told after each look: `{refusal}`, which says why there is nothing new, or is null.
export const looks = topic();

let sale = null;
let failures = 0;
const waiting = alarm();

export const current = () => sale;

export const product = (sku) => sale?.products.find((one) => one.sku === sku);

export const nameOf = (sku) => product(sku)?.name ?? sku;

// Where the sale stands by the shop's clock. The times decide, and not the phase, which follows them a little later.
export function stage() {
  if (!sale) return "unknown";
  const now = clock.now();
  const isOver = sale.phase === "Draining" || sale.phase === "Ended";
  if (isOver || (sale.closesAt && now >= Date.parse(sale.closesAt))) return "over";
  if (!sale.opensAt || now < Date.parse(sale.opensAt)) return "before";
  return sale.halted ? "paused" : "open";
}

// Milliseconds until the sale opens or closes, or null where no such time is known.
export function untilNext() {
  const next = { before: sale?.opensAt, open: sale?.closesAt, paused: sale?.closesAt }[stage()];
  return next ? Date.parse(next) - clock.now() : null;
}

export async function watch() {
  document.addEventListener("visibilitychange", () => waiting.ring());
  addEventListener("online", () => waiting.ring());
  for (;;) {
    await seen();
    const refusal = await look();
    // One answer that fails to come is no news.
    looks.tell({ refusal: sale && failures < 2 ? null : refusal });
    const wait = refusal ? Math.max((refusal.retryAfter ?? 0) * 1_000, backoff(failures)) : pace();
    const begun = Date.now();
    await waiting.wait(wait);
    // However often somebody comes back, there is a moment between two looks, and a refusal's whole wait.
    const least = refusal ? wait : 1_000;
    const left = least - (Date.now() - begun);
    if (left > 0) await sleep(left);
  }
}

// Looks now, or as soon as that is polite.
export const lookSoon = () => waiting.ring();

async function look() {
  try {
    const answer = await call("GET", "/api/sale");
    if (!Array.isArray(answer.data?.products)) throw new Refusal({ code: "unreachable" });
    sale = answer.data;
    clock.learn(Date.parse(sale.serverTime), answer.sentAt, answer.receivedAt);
    failures = 0;
    return null;
  } catch (refusal) {
    failures += 1;
    return refusal;
  }
}

// How long until the next look.
function pace() {
  const often = session.user() ? 2_500 : 10_000;
  switch (stage()) {
    case "before": {
      const left = untilNext();
      const wait = about(left === null || left > 60_000 ? 15_000 : 5_000);
      // Everybody waits for the same instant: the looks at it are spread over two seconds.
      return left !== null && left < wait ? left + Math.random() * 2_000 : wait;
    }
    case "open":
      return about(often);
    case "paused":
      return about(5_000);
    default:
      return about(30_000);
  }
}
