// Waiting: for a time, for the page to be seen, and longer after each failure.
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A time around the given one, so that not all pages come at once.
export const about = (ms) => ms * (0.8 + Math.random() * 0.4);

// How long to wait after so many failures in a row: twice as long each time, and never the same as others.
export function backoff(failures, first = 1_000, longest = 30_000) {
  return Math.min(longest, first * 2 ** Math.min(failures, 20)) * (0.5 + Math.random() / 2);
}

// How long to leave a server alone that has refused: as long as it says, and longer after each failure.
export const pauseAfter = (refusal, failures) => Math.max((refusal.retryAfter ?? 0) * 1_000, backoff(failures));

// A wait that can be cut short.
export function alarm() {
  let end = () => {};
  return {
    wait(ms) {
      return new Promise((resolve) => {
        const timer = setTimeout(() => end(), ms);
        end = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
    ring() {
      end();
    },
  };
}

export const isSeen = () => document.visibilityState === "visible";

// Waits until the page is seen.
export function seen() {
  if (isSeen()) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (!isSeen()) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}

// A `Retry-After` of more seconds than these is for people to decide on.
const LONGEST_RETRY_AFTER = 60;

// Does work that is harmless to repeat, and repeats it while the failure may pass.
export async function patiently(work, tries = 3) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await work();
    } catch (refusal) {
      const after = refusal.retryAfter ?? 0;
      if (!refusal.mayPass || failures + 1 >= tries || after > LONGEST_RETRY_AFTER) throw refusal;
      await sleep(after * 1_000 + backoff(failures));
    }
  }
}
