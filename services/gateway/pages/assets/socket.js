// The WebSocket that tells what becomes of orders: one connection, opened with a ticket, and opened again where it ends.
import * as session from "./session.js";
import { topic } from "./shared/topic.js";
import { alarm, backoff, isSeen, seen, sleep } from "./shared/wait.js";

// Each update: `{id, data}`.
export const updates = topic();
// The first words of a connection: `{missed, more, newest}`.
export const hellos = topic();
// `connecting`, `open`, `replaced` or `off`.
export const states = topic();

const RESTART = 1012;
const TRY_AGAIN = 1013;
// Asking for the next ticket gets a new token where one is needed.
const TOKEN_EXPIRED = 4401;
const REPLACED = 4409;
// For a handshake and the first frame.
const GREETING = 10_000;
// A connection that ends sooner has not been of use, and the wait grows.
const USEFUL = 10_000;
// A page is not told why a handshake fails. After so many the id of the last update is left out: it may be the reason.
const SUSPECT_ID_AFTER = 3;

let lastEventId = null;
let current = null;

// Connects, and stays connected until `stop`. `after` is the newest update that the page has.
export function start(after) {
  stop();
  lastEventId = after;
  current = { isOver: false, socket: null, waiting: alarm() };
  void keepConnected(current);
}

export function stop() {
  if (!current) return;
  current.isOver = true;
  current.socket?.close(1000);
  current.waiting.ring();
  current = null;
  states.tell("off");
}

// After a sleep a connection may be dead without anybody having noticed: sending something shows it. The shop takes this word only.
function check() {
  if (!current || !isSeen()) return;
  current.waiting.ring();
  if (current.socket?.readyState === WebSocket.OPEN) current.socket.send("ping");
}
addEventListener("online", check);
document.addEventListener("visibilitychange", check);

async function keepConnected(run) {
  let failures = 0;
  for (;;) {
    await seen();
    if (run.isOver) return;
    states.tell("connecting");
    const end = await connectOnce(run);
    if (run.isOver || end.isLoggedOut) return;
    failures = end.lasted > USEFUL ? 0 : failures + 1;
    if (failures === SUSPECT_ID_AFTER && !end.wasOpen) lastEventId = null;
    if (end.code === REPLACED) {
      states.tell("replaced");
      await comesBack();
      continue;
    }
    states.tell("connecting");
    const wait = pause(end, failures);
    await Promise.all([run.waiting.wait(wait), sleep(Math.min(wait, 1_000))]);
  }
}

function pause({ code, retryAfter }, failures) {
  const isAsked = code === RESTART || code === TRY_AGAIN || code === TOKEN_EXPIRED;
  if (isAsked && failures < 2) return Math.random() * 2_000;
  return (retryAfter ?? 0) * 1_000 + backoff(failures);
}

async function connectOnce(run) {
  let ticket;
  try {
    ({ ticket } = (await session.call("POST", "/api/ws-ticket")).data);
  } catch (refusal) {
    return { lasted: 0, isLoggedOut: refusal.status === 401, retryAfter: refusal.retryAfter };
  }
  if (run.isOver) return { lasted: 0 };
  return converse(run, ticket);
}

function converse(run, ticket) {
  const address = new URL("/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.searchParams.set("ticket", ticket);
  if (lastEventId) address.searchParams.set("lastEventId", lastEventId);
  return new Promise((resolve) => {
    const socket = new WebSocket(address);
    run.socket = socket;
    let greetedAt = null;
    const done = (end) => {
      clearTimeout(overdue);
      resolve({ wasOpen: greetedAt !== null, lasted: greetedAt === null ? 0 : Date.now() - greetedAt, ...end });
    };
    const overdue = setTimeout(() => {
      socket.close();
      done({});
    }, GREETING);
    socket.onmessage = ({ data }) => {
      if (run.isOver) return;
      const frame = parse(data);
      if (frame?.type === "hello") {
        clearTimeout(overdue);
        greetedAt = Date.now();
        hellos.tell(frame.data);
        states.tell("open");
      } else if (frame?.type === "order.update") {
        lastEventId = frame.id;
        updates.tell(frame);
      }
    };
    socket.onclose = ({ code }) => done({ code });
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// Waits until somebody comes back to this tab: connecting at once would only push out the tab that is in use.
async function comesBack() {
  await sleep(1_000);
  await new Promise((resolve) => {
    const look = () => {
      if (!isSeen()) return;
      removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
  });
}
