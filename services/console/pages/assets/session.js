// Who is logged in. Whatever is answered 401 asks for a login; what was being read goes on after it.
import { call } from "./api.js";
import { topic } from "./shared/topic.js";

export const changes = topic();

let me = null;
const waiting = [];
let open = false;

export const user = () => me?.user ?? null;
export const version = () => me?.version ?? null;
export const isIn = () => open;
export const maySwitch = () => me?.switches === true;

function begin(found) {
  me = found;
  open = true;
  changes.tell({ isIn: true });
  for (const go of waiting.splice(0)) go();
}

// The session has ended: what is on show stays until somebody logs in again.
function lost() {
  open = false;
  changes.tell({ isIn: false });
}

const loggedIn = () => new Promise((resolve) => waiting.push(resolve));

// Looks who is logged in already.
export async function look() {
  begin(await read("/api/me"));
}

export async function logIn(email, password) {
  begin(await call("POST", "/api/login", { email, password }));
}

export async function logOut() {
  try {
    await call("POST", "/api/logout", {});
  } catch (refusal) {
    // Whose session has ended already is logged out.
    if (refusal.status !== 401) throw refusal;
  }
  me = null;
  lost();
}

// Reads something, after a login where one is needed.
export async function read(path) {
  for (;;) {
    try {
      return await call("GET", path);
    } catch (refusal) {
      if (refusal.status !== 401) throw refusal;
      const again = loggedIn();
      lost();
      // The question who is logged in is answered by the login itself.
      if (path === "/api/me") return await again.then(() => me);
      await again;
    }
  }
}

// Has something done. It is never sent twice by itself.
export async function send(path, body = {}) {
  try {
    return await call("POST", path, body);
  } catch (refusal) {
    if (refusal.status === 401) lost();
    throw refusal;
  }
}
