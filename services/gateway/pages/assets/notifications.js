// The buyer's notifications, and how many are unread.
import * as session from "./session.js";
import { onOtherTab, write } from "./storage.js";
import { topic } from "./shared/topic.js";
import { patiently, sleep } from "./shared/wait.js";

// Told when the list has changed, or reading it has failed.
export const changes = topic();

// Other tabs read the list again when this value changes.
const READ = "read";

let all = new Map();
let cursor = null;
let state = "unread";

onOtherTab(READ, () => session.user() && void load());

// Newest first: ids of later news sort after those of earlier news.
export const list = () => [...all.values()].sort((a, b) => (a._id < b._id ? 1 : -1));

export const standing = () => ({ state, hasOlder: cursor !== null });

// How many are unread: `{number, isMore}`, where there may be more among older ones.
export function unread() {
  const shown = list();
  return { number: shown.filter(({ read }) => !read).length, isMore: cursor !== null && shown.at(-1)?.read === false };
}

export const newestId = () => list()[0]?._id ?? null;

export function reset() {
  all = new Map();
  cursor = null;
  state = "unread";
  changes.tell();
}

async function page(query) {
  const mine = all;
  const { data } = await patiently(() => session.call("GET", `/api/notifications?limit=50${query}`));
  if (mine !== all) return null;
  for (const one of data.items) all.set(one._id, one);
  return data;
}

export async function load() {
  const mine = all;
  try {
    const read = await page("");
    if (!read) return;
    if (state !== "read") cursor = read.nextCursor;
    state = "read";
  } catch {
    if (mine !== all) return;
    if (state === "unread") state = "failed";
  }
  changes.tell();
}

export async function loadOlder() {
  const read = await page(`&cursor=${encodeURIComponent(cursor)}`);
  if (read) cursor = read.nextCursor;
  changes.tell();
}

// Takes in an update of the WebSocket. Says whether it is new here.
export function add(id, update) {
  if (all.has(id)) return false;
  all.set(id, { ...update, _id: id, read: false });
  changes.tell();
  return true;
}

export async function markRead(id) {
  const mine = all;
  const mark = () => session.call("PATCH", `/api/notifications/${encodeURIComponent(id)}/read`);
  await patiently(async () => {
    try {
      await mark();
    } catch (refusal) {
      if (refusal.status !== 404) throw refusal;
      // An update may come a moment before it is in the list.
      await sleep(1_500);
      await mark();
    }
  });
  if (mine !== all) return;
  const one = all.get(id);
  if (one) all.set(id, { ...one, read: true });
  write(READ, Date.now());
  changes.tell();
}

export async function markAllRead() {
  const mine = all;
  await patiently(() => session.call("POST", "/api/notifications/read-all"));
  if (mine !== all) return;
  for (const one of all.values()) all.set(one._id, { ...one, read: true });
  write(READ, Date.now());
  changes.tell();
}
