// Work that one tab does at a time.
import { uuid } from "./ids.js";
import { read, remove, write } from "./storage.js";
import { sleep } from "./shared/wait.js";

// A tab that was put to sleep must not stop the others for longer than this.
const PATIENCE = 15_000;
const LEASE = 30_000;
const me = uuid();

// Runs the work while no other tab runs work of this name. After a long wait it runs anyway, so it must be harmless to do twice.
export async function exclusive(name, work) {
  return navigator.locks ? withLock(`quicksale.${name}`, work) : withLease(`lease.${name}`, work);
}

async function withLock(name, work) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), PATIENCE);
  let begun = false;
  const begin = () => {
    begun = true;
    clearTimeout(timer);
    return work();
  };
  try {
    return await navigator.locks.request(name, { signal: giveUp.signal }, begin);
  } catch (error) {
    if (begun) throw error;
    return work();
  }
}

// Pages without HTTPS have no locks: a lease in the storage, looked at again after a moment, since two may write at once.
async function withLease(name, work) {
  const mine = `${me}.${uuid()}`;
  const until = Date.now() + PATIENCE;
  while (Date.now() < until) {
    const lease = read(name);
    if (!lease || lease.until < Date.now() || lease.until > Date.now() + LEASE) {
      write(name, { holder: mine, until: Date.now() + LEASE });
      await sleep(30 + Math.random() * 50);
      if (read(name)?.holder === mine) break;
    }
    await sleep(50 + Math.random() * 100);
  }
  try {
    return await work();
  } finally {
    if (read(name)?.holder === mine) remove(name);
  }
}
