// Buys one unit of the first product on sale, hears over the WebSocket what became of it, and exits with 0 once the shop's
// list of orders has it as CONFIRMED. Node 22 or newer has all that it needs: fetch and WebSocket.
//   SHOP=http://127.0.0.1:3000 node buy.mjs        with EMAIL and PASSWORD for an account that is there already

const SHOP = process.env.SHOP ?? "http://127.0.0.1:3000";
// How long an answer may take, and how long the whole purchase.
const DEADLINE = 10_000;
const TO_ITS_END = Date.now() + 60_000;

const sleep = (ms) => new Promise((done) => setTimeout(done, Math.max(0, Math.min(ms, TO_ITS_END - Date.now()))));

/** The shop said no, and means it. */
class Refused extends Error {
  constructor({ code, detail }) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

async function call(method, path, { token, key, body } = {}) {
  const headers = { accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (key) headers["idempotency-key"] = key;
  if (body) headers["content-type"] = "application/json";
  const signal = AbortSignal.timeout(DEADLINE);
  const answer = await fetch(SHOP + path, { method, headers, body: body && JSON.stringify(body), signal });
  const text = await answer.text();
  return { status: answer.status, wait: Number(answer.headers.get("retry-after") ?? 1), data: text && JSON.parse(text) };
}

/** The same request until somebody has said yes or no: only its key makes it safe to repeat an order. */
async function insist(method, path, more) {
  while (Date.now() < TO_ITS_END) {
    const answer = await call(method, path, more).catch(() => null);
    if (answer && answer.status < 300) return answer.data;
    // No answer, 429 and 5xx say nothing of what became of it; units that others hold may come back.
    const again = !answer || answer.status >= 500 || answer.status === 429 || answer.data.code === "units_held";
    if (!again) throw new Refused(answer.data);
    await sleep(((answer?.wait ?? 1) + Math.random()) * 1000);
  }
  throw new Error(`${method} ${path} got no answer in time`);
}

/** An access token, of the account in the environment or of a new one. */
async function logIn() {
  const { EMAIL, PASSWORD } = process.env;
  const account = EMAIL
    ? { email: EMAIL, password: PASSWORD }
    : { email: `buyer-${crypto.randomUUID()}@example.com`, password: `a horse ${crypto.randomUUID()}` };
  const login = () => insist("POST", "/api/auth/login", { body: account });
  if (EMAIL) return (await login()).accessToken;
  const body = { ...account, firstName: "Ada", lastName: "L" };
  const made = insist("POST", "/api/auth/register", { body }).catch((error) => {
    // An answer that was lost had made the account.
    if (error.code === "email_taken") return login();
    throw error;
  });
  return (await made).accessToken;
}

/** Hands each update to `news`, over as many connections as it takes, until `isOver`. */
async function listen(token, news, isOver) {
  let last = "";
  while (!isOver() && Date.now() < TO_ITS_END) {
    const { ticket } = await insist("POST", "/api/ws-ticket", { token });
    const since = last && `&lastEventId=${encodeURIComponent(last)}`;
    const socket = new WebSocket(`${SHOP.replace(/^http/, "ws")}/ws?ticket=${ticket}${since}`);
    const code = await new Promise((closed) => {
      const end = setTimeout(() => socket.close(), TO_ITS_END - Date.now());
      socket.onmessage = ({ data }) => {
        const update = JSON.parse(data);
        if (update.type !== "order.update") return; // the first frame is "hello"
        last = update.id;
        news(update.data);
        if (isOver()) socket.close();
      };
      socket.onclose = (event) => {
        clearTimeout(end);
        closed(event.code);
      };
    });
    if (code === 4409) throw new Error("a newer connection of this account took this one's place");
    if (!isOver()) await sleep(1000 + Math.random() * 1000);
  }
}

async function buy() {
  const token = await logIn();
  const { products } = await insist("GET", "/api/sale");
  const product = products.find(({ available }) => available > 0);
  if (!product) throw new Error("sold_out: nothing is left");
  // What became of each order: news may come before the answer to the order does.
  const ends = new Map();
  let placed;
  const news = ({ orderId, status, message }) => {
    console.log(`${orderId}: ${status} ${message}`);
    if (status !== "PENDING") ends.set(orderId, status);
  };
  const listening = listen(token, news, () => placed && ends.has(placed._id));
  listening.catch(() => {}); // it is awaited below
  // One key for one wish, kept until there is an answer. A shop writes it down before it sends it.
  const key = crypto.randomUUID();
  const items = [{ sku: product.sku, quantity: 1 }];
  placed = (await insist("POST", "/api/orders", { token, key, body: { items } })).order;
  console.log(`${placed._id}: accepted`);
  if (!ends.has(placed._id)) await listening;
  // News by the socket, truth by the list.
  const { items: listed } = await insist("GET", `/api/orders?idempotencyKey=${key}`, { token });
  const found = listed.map(({ _id, status }) => `${_id} ${status}`).join(", ");
  if (found !== `${placed._id} CONFIRMED`) throw new Error(`the list of orders has ${found || "nothing"}`);
  console.log("the list of orders has it");
}

try {
  await buy();
  process.exit(0); // the socket may still be saying goodbye
} catch (error) {
  console.error(`not bought: ${error.message}`);
  process.exit(1);
}
