// The server’s time: the browser’s clock, corrected by what the server said last.
let offset = 0;
let error = Infinity;
let takenAt = 0;

// A browser's clock may drift by this much in a millisecond.
const DRIFT = 0.0002;

// The server’s time lies between the sending of a request and the arrival of its answer.
export function learn(serverTime, sentAt, receivedAt) {
  if (!Number.isFinite(serverTime)) return;
  const found = serverTime - (sentAt + receivedAt) / 2;
  const foundError = Math.max(1, (receivedAt - sentAt) / 2);
  const errorNow = error + Math.abs(receivedAt - takenAt) * DRIFT;
  // Where the two cannot both be right, somebody has set the browser's clock.
  const wasSet = Math.abs(found - offset) > foundError + errorNow;
  if (foundError <= errorNow || wasSet) {
    offset = found;
    error = foundError;
    takenAt = receivedAt;
  }
}

export const now = () => Date.now() + offset;

// Calls the listener at every full second of the server’s time while the page is seen.
export function everySecond(listener) {
  const tick = () => {
    if (document.visibilityState === "visible") listener();
    setTimeout(tick, 1_005 - (((now() % 1_000) + 1_000) % 1_000));
  };
  tick();
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && listener());
}
