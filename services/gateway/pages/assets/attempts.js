// Tries to buy. Each has a key that is made once and kept in the storage until the shop has said what became of it, so that
// neither a reload nor the back button, a lost answer or a second tab makes a second order of it.
import { Refusal } from "./shared/request.js";
import { uuid } from "./ids.js";
import { exclusive } from "./lock.js";
import * as orders from "./orders.js";
import * as sale from "./sale.js";
import * as session from "./session.js";
import { names, onOtherTab, read, remove, write } from "./storage.js";
import { topic } from "./shared/topic.js";
import { alarm, backoff, seen } from "./shared/wait.js";

// A minute after a try without an answer the shop is not at work on it any more; a little is added for the way.
const QUIET = 70_000;
// For so long an order is sent again by itself.
const KEEP_SENDING = 60_000;
// A try that is older is not sent again after a reload: its buyer may have thought better of it. The shop is asked about it.
const FRESH = 120_000;
// So long after an order was accepted the same product is not bought again: a second click of a double click means the first.
const REST = 3_000;
const DEADLINE = 20_000;

// Told when what is known of a try has changed.
export const changes = topic();

// By SKU: `{phase, quantity}` with `sending`, `again`, `asking`, `unknown`, `accepted` (and `orderId`) or `refused` (and
// `refusal`, and `retryAt` where it is of no use to try again before).
let known = new Map();
// By the name in the storage: what a running pursuit can be told.
const running = new Map();

const start = () => `attempt.${session.user()?._id}.`;

onOtherTab("attempt.", ({ newValue }) => {
  if (!session.user()) return;
  changes.tell();
  if (newValue === null) void orders.load();
});

// What became of the last try to buy this product, or null.
export function standing(sku) {
  const stored = read(start() + sku);
  const told = known.get(sku);
  if (!stored) return told && isSettled(told) ? told : null;
  return told && !isSettled(told) ? { ...told, quantity: stored.quantity } : { phase: "unknown", quantity: stored.quantity };
}

const isSettled = ({ phase }) => phase === "accepted" || phase === "refused";

export function reset() {
  known = new Map();
  changes.tell();
}

function say(sku, what) {
  known.set(sku, what);
  changes.tell();
}

// Buys, or goes on with a try that has no answer yet: that one's quantity counts.
export function buy(sku, quantity) {
  const user = session.user()?._id;
  if (!user) return;
  const name = start() + sku;
  if (known.get(sku)?.restsUntil > Date.now()) return;
  if (!read(name)) write(name, { key: uuid(), user, sku, quantity, madeAt: Date.now(), openSince: null, refusal: null });
  const pursuit = running.get(name);
  if (pursuit) {
    pursuit.sendUntil = Date.now() + KEEP_SENDING;
    pursuit.waiting.ring();
  } else {
    void run(name, { sendUntil: Date.now() + KEEP_SENDING });
  }
}

// Goes on with what this buyer has begun: after a reload, after coming back to the page, after logging in.
export function resume() {
  for (const name of names(start())) {
    if (!running.has(name)) void run(name, { sendUntil: 0, isResumed: true });
  }
}

async function run(name, pursuit) {
  pursuit.waiting = alarm();
  running.set(name, pursuit);
  const sku = read(name)?.sku;
  say(sku, { phase: pursuit.isResumed ? "asking" : "sending" });
  try {
    await exclusive(name, () => pursue(name, pursuit));
  } finally {
    running.delete(name);
    const told = known.get(sku);
    if (told && !isSettled(told)) known.delete(sku);
    changes.tell();
    sale.lookSoon();
  }
}

async function pursue(name, pursuit) {
  for (let failures = 0; ; failures += 1) {
    const attempt = read(name);
    // Another tab has settled it, or it goes on when its buyer is back.
    if (!attempt || session.user()?._id !== attempt.user) return;
    const sends = Date.now() < pursuit.sendUntil;
    const step = sends ? await send(name, attempt) : await ask(attempt, pursuit);
    if (step.order || step.refusal) {
      settle(name, attempt, step);
      return;
    }
    if (step.stop) return;
    if (step.asksNow) pursuit.sendUntil = 0;
    if (step.asksNow || step.sendsNow) continue;
    const wait = step.wait ?? Math.max((step.retryAfter ?? 0) * 1_000, backoff(failures, 1_000, sends ? 12_000 : 30_000));
    const willSend = Date.now() + wait < pursuit.sendUntil;
    say(attempt.sku, { phase: willSend ? "again" : "unknown" });
    if (!willSend) pursuit.sendUntil = 0;
    await pursuit.waiting.wait(wait);
    if (!willSend) await seen();
  }
}

// Another tab may have settled this try, and begun another one.
const isStillOpen = (name, attempt) => read(name)?.key === attempt.key;

function settle(name, attempt, { order, refusal }) {
  if (isStillOpen(name, attempt)) remove(name);
  const { sku, quantity, user } = attempt;
  if (session.user()?._id !== user) return;
  if (order) {
    orders.put(order);
    orders.changes.tell();
    say(sku, { phase: "accepted", quantity, orderId: order._id, restsUntil: Date.now() + REST });
  } else {
    const retryAt = refusal.retryAfter ? Date.now() + refusal.retryAfter * 1_000 : null;
    say(sku, { phase: "refused", quantity, refusal, retryAt });
  }
}

// Sends the order. `openSince` is when the last try without an answer was made; where there was none, nothing is under way.
async function send(name, attempt) {
  const { sku, quantity, key, user, openSince } = attempt;
  say(sku, { phase: "sending" });
  const sentAt = Date.now();
  write(name, { ...attempt, openSince: sentAt });
  try {
    const body = { items: [{ sku, quantity }] };
    const headers = { "idempotency-key": key };
    const { data } = await session.call("POST", "/api/orders", { as: user, body, headers, deadline: DEADLINE });
    if (!data?.order?._id) throw new Refusal({ code: "unreachable" });
    return { order: data.order };
  } catch (refusal) {
    const keep = (what) => isStillOpen(name, attempt) && write(name, { ...attempt, ...what });
    if (!(refusal instanceof Refusal) || refusal.isUnanswered) {
      keep({ openSince: Date.now() });
      return { retryAfter: refusal.retryAfter };
    }
    // This time no order was made. That is the end of it if nothing else is under way: no earlier send, and none of another tab.
    const isRefused = refusal.status !== 429 && refusal.status !== 401;
    const isAlone = read(name)?.openSince === sentAt;
    if (isAlone && (openSince === null || (isRefused && sentAt - openSince > QUIET))) return { refusal };
    keep({ openSince: isAlone ? openSince : read(name)?.openSince, refusal: isRefused ? { ...refusal } : attempt.refusal });
    if (refusal.status === 401) return { stop: true };
    if (refusal.status === 429) return { retryAfter: refusal.retryAfter };
    return { asksNow: true };
  }
}

// Asks whether the key has made an order. That it has not says nothing before the time is over in which it still may.
async function ask(attempt, pursuit) {
  const openSince = Math.min(attempt.openSince ?? attempt.madeAt, Date.now());
  const isQuiet = Date.now() - openSince > QUIET;
  try {
    const query = `idempotencyKey=${encodeURIComponent(attempt.key)}`;
    const { data } = await session.call("GET", `/api/orders?${query}`, { as: attempt.user });
    const order = data.items.find(({ userId }) => userId === attempt.user);
    if (order) return { order };
  } catch (refusal) {
    return refusal.status === 401 ? { stop: true } : { retryAfter: refusal.retryAfter };
  }
  if (pursuit.isResumed && Date.now() - attempt.madeAt < FRESH && attempt.refusal === null) {
    pursuit.isResumed = false;
    pursuit.sendUntil = Date.now() + KEEP_SENDING;
    return { sendsNow: true };
  }
  if (isQuiet) return { refusal: new Refusal(attempt.refusal ?? { code: "not_made" }) };
  return { wait: untilQuiet(openSince) };
}

const untilQuiet = (openSince) => Math.max(1_000, openSince + QUIET - Date.now()) + Math.random() * 2_000;
