// What could not be read again, and since when: what is on show is older then.
import { topic } from "./shared/topic.js";

export const changes = topic();

const fresh = new Map();
const failed = new Map();

export function isFresh(source) {
  fresh.set(source, Date.now());
  if (failed.delete(source)) changes.tell(oldest());
}

export function isStale(source, refusal) {
  failed.set(source, { since: fresh.get(source) ?? Date.now(), refusal });
  changes.tell(oldest());
}

export function forget(source) {
  fresh.delete(source);
  if (failed.delete(source)) changes.tell(oldest());
}

function oldest() {
  const all = [...failed.values()];
  return all.length === 0 ? null : all.reduce((one, other) => (other.since < one.since ? other : one));
}
