// Work that one tab does at a time.
import { uuid } from "./ids.js";
import { read, remove, write } from "./storage.js";
import { sleep } from "./shared/wait.js";

// A tab that was put to sleep must not stop the others for longer than this.
const PATIENCE = 15_000;
const LEASE = 30_000;
const me = uuid();

// Runs the work while no other tab runs work of this name, and tells it whether it had to wait for one. After a long wait it runs anyway,
// so it must be harmless to do twice.
export async function exclusive(name, work) {
  return navigator.locks ? withLock(`quicksale.${name}`, work) : withLease(`lease.${name}`, work);
}

async function withLock(name, work) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), PATIENCE);
  let begun = false;
  const begin = (waited) => {
    begun = true;
    clearTimeout(timer);
    return work(waited);
  };
  try {
    // At once, or in turn.
    const free = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => lock && { done: await begin(false) });
    return free ? free.done : await navigator.locks.request(name, { signal: giveUp.signal }, () => begin(true));
  } catch (error) {
    if (begun) throw error;
    return work(true);
  } finally {
    clearTimeout(timer);
  }
}

// Pages without HTTPS have no locks: a lease in the storage, looked at again after a moment, since two may write at once.
async function withLease(name, work) {
  const mine = `${me}.${uuid()}`;
  const until = Date.now() + PATIENCE;
  let waited = false;
  while (Date.now() < until) {
    const lease = read(name);
    if (lease && lease.holder !== mine) waited = true;
    if (!lease || lease.until < Date.now() || lease.until > Date.now() + LEASE) {
      write(name, { holder: mine, until: Date.now() + LEASE });
      await sleep(30 + Math.random() * 50);
      if (read(name)?.holder === mine) break;
    }
    await sleep(50 + Math.random() * 100);
  }
  try {
    return await work(waited);
  } finally {
    if (read(name)?.holder === mine) remove(name);
  }
}
