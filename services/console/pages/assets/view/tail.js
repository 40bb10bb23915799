// The live tail of a partition: what is written to it, as it comes.
import { withQuery } from "../api.js";
import { count, time } from "../format.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { isSeen, pauseAfter, sleep } from "../shared/wait.js";
import { el, text } from "../shared/dom.js";
import { button } from "./parts.js";

const EVERY = 1_000;
const KEPT = 500;
const LIMIT = 200;

// Takes what was read to what is there already.
export function take(state, { items, next, end, earliest }) {
  const known = new Set(state.items.map(({ offset }) => offset));
  state.items = [...state.items, ...items.filter(({ offset }) => !known.has(offset))].sort(
    (one, other) => one.offset - other.offset,
  );
  Object.assign(state, { next, end, earliest });
}

export function tailOf({ path, life, state, draw, status }) {
  let run = 0;
  let isOn = false;
  let isPaused = false;
  const toggle = button("Live tail", () => (isOn ? stop() : start()));
  const pause = button("Pause", () => pauseOrNot(!isPaused));
  pause.hidden = true;

  function show() {
    toggle.setAttribute("aria-pressed", isOn);
    pause.hidden = !isOn;
    text(pause, isPaused ? "Go on with the tail" : "Pause");
    draw();
  }

  function pauseOrNot(next) {
    isPaused = next;
    if (isPaused) text(status, `The tail is paused since ${time(new Date().toISOString())}.`);
    show();
  }

  function start() {
    isOn = true;
    isPaused = false;
    state.round += 1;
    text(status, `Messages are shown as they come; the last ${count(KEPT)} are kept.`);
    show();
    void follow(++run);
  }

  function stop() {
    if (!isOn) return;
    isOn = false;
    run += 1;
    text(status, "The tail has ended.");
    show();
  }

  async function follow(mine) {
    const at = {
      isMine: () => mine === run && !life.isOver,
      from: state.next === null ? { last: 20 } : { offset: state.next },
      failures: 0,
    };
    while (at.isMine()) {
      const pause = !isPaused && isSeen() ? await step(at) : EVERY;
      await sleep(pause);
    }
  }

  // Reads what is new, and gives how long to wait then.
  async function step(at) {
    try {
      const found = await session.read(withQuery(path, { ...at.from, key: state.query.key, limit: LIMIT }));
      if (!at.isMine() || isPaused) return EVERY;
      if (at.failures > 0) text(status, "Messages are shown as they come again.");
      take(state, found);
      state.items = state.items.slice(-KEPT);
      draw();
      Object.assign(at, { from: { offset: found.next }, failures: 0 });
      return EVERY;
    } catch (refusal) {
      at.failures += 1;
      if (at.isMine()) text(status, `The tail waits. ${whyNot(refusal)}`);
      return Math.max(EVERY, pauseAfter(refusal, at.failures));
    }
  }

  return {
    node: el("div", { class: "choices" }, toggle, pause),
    isOn: () => isOn,
    stop,
  };
}
