// The life of a view: what it reads again and again, until somebody leaves it.
import * as stale from "./stale.js";
import { alarm, pauseAfter, seen } from "./shared/wait.js";

export function life() {
  const ends = [];
  let over = false;
  return {
    get isOver() {
      return over;
    },
    atEnd(work) {
      ends.push(work);
    },
    end() {
      over = true;
      for (const work of ends.splice(0)) work();
    },
    // Reads now and every so many milliseconds, while the page is seen. `fail` is told of failures before the first success.
    every(ms, read, draw, fail = () => {}) {
      const pace = { ms, bell: alarm(), isDue: false };
      const source = { read, draw, fail };
      ends.push(() => {
        stale.forget(source);
        pace.bell.ring();
      });
      void follow(this, source, pace);
      // A reading that is on its way may be too old already: another one follows it.
      const again = () => {
        pace.isDue = true;
        pace.bell.ring();
      };
      return { again };
    },
  };
}

async function follow(life, source, pace) {
  let failures = 0;
  let known = false;
  while (!life.isOver) {
    await seen();
    if (life.isOver) return;
    pace.isDue = false;
    let pause = pace.ms;
    try {
      const found = await source.read();
      if (life.isOver) return;
      source.draw(found);
      known = true;
      failures = 0;
      stale.isFresh(source);
    } catch (refusal) {
      if (life.isOver) return;
      failures += 1;
      pause = Math.max(pace.ms, pauseAfter(refusal, failures));
      if (known) stale.isStale(source, refusal);
      else source.fail(refusal);
    }
    if (!pace.isDue) await pace.bell.wait(pause);
  }
}
