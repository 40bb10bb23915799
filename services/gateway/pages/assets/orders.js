// The buyer's orders: read from the shop, and moved on by the updates that come.
import * as clock from "./shared/clock.js";
import * as session from "./session.js";
import { topic } from "./shared/topic.js";
import { isSeen, patiently } from "./shared/wait.js";

// Until orders that are not known are looked up.
const SOON = 500;

// Told when the list has changed, or reading it has failed.
export const changes = topic();

let orders = new Map();
let cursor = null;
let state = "unread";
let looks = new Map();
// By order: the last update of one that is not in the list yet.
let early = new Map();

export const get = (id) => orders.get(id);

// Newest first.
export const list = () => [...orders.values()].sort((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));

// `unread`, `read` or `failed`; and whether there are older ones.
export const standing = () => ({ state, hasOlder: cursor !== null });

export function reset() {
  orders = new Map();
  looks = new Map();
  early = new Map();
  cursor = null;
  state = "unread";
  changes.tell();
}

export const waitsForPayment = (order) => order.status === "PENDING" && Boolean(order.holdExpiresAt);

// Takes in what is known of an order. An end is never taken back, and neither is a hold by older news.
export function put(order) {
  const known = orders.get(order._id);
  const isWaiting = order.status === "PENDING";
  const losesEnd = isWaiting && known && known.status !== "PENDING";
  const losesHold = isWaiting && known?.holdExpiresAt && !order.holdExpiresAt;
  if (losesEnd || losesHold) return;
  orders.set(order._id, order);
  const update = early.get(order._id);
  if (update) {
    early.delete(order._id);
    put(moved(order, update));
  }
}

// Does work for whoever is logged in now; its outcome is dropped where that has changed meanwhile.
async function forNow(work) {
  const mine = orders;
  const done = await patiently(work);
  if (mine !== orders) return null;
  return done;
}

async function page(query) {
  const read = await forNow(() => session.call("GET", `/api/orders?limit=20${query}`));
  if (!read) return null;
  // An administrator's list has everybody's.
  const me = session.user()?._id;
  read.data.items.filter((order) => order.userId === me).forEach(put);
  return read.data;
}

export async function load() {
  const mine = orders;
  try {
    const read = await page("");
    if (!read) return;
    if (state !== "read") cursor = read.nextCursor;
    state = "read";
  } catch {
    if (mine !== orders) return;
    if (state === "unread") state = "failed";
  }
  changes.tell();
}

export async function loadOlder() {
  const read = await page(`&cursor=${encodeURIComponent(cursor)}`);
  if (read) cursor = read.nextCursor;
  changes.tell();
}

async function loadOne(id) {
  const read = await forNow(() => session.call("GET", `/api/orders/${encodeURIComponent(id)}`));
  if (read && read.data.userId === session.user()?._id) put(read.data);
  changes.tell();
}

// Takes in an update of the WebSocket. One of an order that is not in the list may have overtaken the answer to the order.
export function follow(update) {
  const known = orders.get(update.orderId);
  if (known) {
    put(moved(known, update));
    changes.tell();
    return;
  }
  early.set(update.orderId, update);
  if (early.size === 1) setTimeout(lookUp, SOON);
}

function moved(order, { status, message, reason, holdExpiresAt }) {
  return { ...order, status, message, reason, holdExpiresAt: status === "PENDING" ? holdExpiresAt : undefined };
}

// Reads orders that were placed elsewhere: one by itself, several with the list.
function lookUp() {
  const ids = [...early.keys()];
  early = new Map();
  if (ids.length === 1) void loadOne(ids[0]).catch(() => {});
  if (ids.length > 1) void load();
}

// Cancels an order. One that is cancelled already is what was asked for.
export async function cancel(id) {
  try {
    const done = await forNow(() => session.call("POST", `/api/orders/${encodeURIComponent(id)}/cancel`));
    if (done) put(done.data.order);
    changes.tell();
  } catch (refusal) {
    if (refusal.code === "order_final") await loadOne(id).catch(() => {});
    if (refusal.problem?.orderStatus !== "CANCELLED") throw refusal;
  }
}

// Where an update may have been lost, looks at the orders that should have moved on by now: one at each call, each less often
// with every look.
export function tend() {
  if (!isSeen() || !session.user()) return;
  const now = clock.now();
  for (const order of list()) {
    if (order.status !== "PENDING") continue;
    const due = looks.get(order._id) ?? { at: Math.max(now, Date.parse(order.holdExpiresAt ?? "") || 0) + 4_000, wait: 5_000 };
    // A hold that has come since is the time to look at next.
    const heldUntil = Date.parse(order.holdExpiresAt ?? "");
    if (heldUntil > due.at) due.at = heldUntil + 2_000 + Math.random() * 3_000;
    looks.set(order._id, due);
    if (now < due.at) continue;
    due.at = now + due.wait * (0.8 + Math.random() * 0.4);
    due.wait = Math.min(60_000, due.wait * 2);
    void loadOne(order._id).catch(() => {});
    return;
  }
}
