// Who is logged in, for all tabs: the tokens, their exchange in one place, and requests in the buyer's name.
import { call as plainCall } from "./api.js";
import { Refusal } from "./shared/request.js";
import { exclusive } from "./lock.js";
import { onOtherTab, read, remove, write } from "./storage.js";
import { topic } from "./shared/topic.js";
import { backoff, sleep } from "./shared/wait.js";

const NAME = "session";
// An access token is exchanged this long before it expires.
const AHEAD = 60_000;
// A spent token gets its answer again for 30 seconds: whoever lost the answer must ask for it within that time.
const KEEP_ASKING = 20_000;

// Tells whenever somebody logs in or out, here or in another tab; with `{ended: true}` when the shop has ended the session.
export const changes = topic();

export const user = () => read(NAME)?.user ?? null;

onOtherTab(NAME, () => changes.tell({}));

const ended = () => new Refusal({ code: "unauthenticated", status: 401 });

function keep(pair, who) {
  const { accessToken, refreshToken, expiresIn } = pair;
  write(NAME, { accessToken, refreshToken, expiresAt: Date.now() + expiresIn * 1_000, user: who });
}

async function begin(path, body) {
  const { data } = await plainCall("POST", path, { body, deadline: 20_000 });
  keep(data, data.user);
  changes.tell({});
}

export const logIn = (email, password) => begin("/api/auth/login", { email, password });

export const register = (fields) => begin("/api/auth/register", fields);

export async function logOut() {
  const held = read(NAME);
  remove(NAME);
  changes.tell({});
  if (held) await endSession(held.refreshToken);
}

async function endSession(refreshToken) {
  // The tokens are forgotten here in any case; a session that stays ends by itself.
  await plainCall("POST", "/api/auth/logout", { body: { refreshToken } }).catch(() => {});
}

async function token() {
  const held = read(NAME);
  if (!held) throw ended();
  const left = held.expiresAt - Date.now();
  if (left > AHEAD) return held.accessToken;
  try {
    return await renew(held.accessToken);
  } catch (refusal) {
    // It could not be exchanged yet, and is good for a moment.
    if (refusal.mayPass && left > 5_000) return held.accessToken;
    throw refusal;
  }
}

let renewing = null;

// A good access token instead of this one. The tab that comes first asks for it; the others find it in the storage.
function renew(stale) {
  renewing ??= exclusive("refresh", (waited) => exchange(stale, waited)).finally(() => {
    renewing = null;
  });
  return renewing;
}

async function exchange(stale, waited) {
  // What another tab has written comes a moment after its turn has ended.
  for (let looks = 0; waited && looks < 10 && read(NAME)?.accessToken === stale; looks += 1) await sleep(50);
  const held = read(NAME);
  if (!held) throw ended();
  if (held.accessToken !== stale) return held.accessToken;
  const isReplaced = () => read(NAME)?.refreshToken !== held.refreshToken;
  const until = Date.now() + KEEP_ASKING;
  for (let failures = 0; ; failures += 1) {
    try {
      const body = { refreshToken: held.refreshToken };
      const { data } = await plainCall("POST", "/api/auth/refresh", { body, deadline: 8_000 });
      if (isReplaced()) {
        const current = read(NAME);
        // Whoever logged out meanwhile must not leave a session behind.
        if (current?.user?._id !== held.user._id) void endSession(data.refreshToken);
        if (!current) throw ended();
        return current.accessToken;
      }
      keep(data, held.user);
      return data.accessToken;
    } catch (refusal) {
      if (refusal.mayPass) {
        const wait = (refusal.retryAfter ?? 0) * 1_000 + backoff(failures, 500, 4_000);
        if (Date.now() + wait > until) throw refusal;
        await sleep(wait);
        if (isReplaced()) return read(NAME)?.accessToken ?? Promise.reject(ended());
        continue;
      }
      if (isReplaced()) return read(NAME)?.accessToken ?? Promise.reject(ended());
      remove(NAME);
      changes.tell({ ended: true });
      throw ended();
    }
  }
}

// A request in the name of whoever is logged in, or of nobody but `as`: what one buyer began is not for another to go on with.
export async function call(method, path, { as = user()?._id, ...options } = {}) {
  const mustBeSame = () => {
    if (!as || user()?._id !== as) throw ended();
  };
  mustBeSame();
  const first = await token();
  mustBeSame();
  try {
    return await plainCall(method, path, { ...options, token: first });
  } catch (refusal) {
    if (refusal.status !== 401) throw refusal;
    const second = await renew(first);
    mustBeSame();
    return plainCall(method, path, { ...options, token: second });
  }
}
