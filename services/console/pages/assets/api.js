// One request to the console's API: JSON both ways, a deadline, and every failure as a `Refusal`.
import { learn } from "./shared/clock.js";

const DEADLINE = 20_000;

// Why there is no good answer. Where nothing was answered, `status` is 0 and `code` is `unreachable` or `timeout`.
class Refusal extends Error {
  constructor({ code, status = 0, problem = {}, retryAfter = null, requestId = null }) {
    super(code);
    Object.assign(this, { code, status, problem, retryAfter, requestId });
  }

  // Nobody knows whether the request was carried out.
  get isUnanswered() {
    return this.status === 0 || this.status >= 500;
  }
}

export async function call(method, path, body) {
  const sent = { accept: "application/json" };
  if (body !== undefined) sent["content-type"] = "application/json";
  const overdue = new AbortController();
  const timer = setTimeout(() => overdue.abort(), DEADLINE);
  const sentAt = Date.now();
  try {
    const answer = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "same-origin",
      signal: overdue.signal,
    });
    const receivedAt = Date.now();
    const text = await answer.text();
    if (!answer.ok) throw refusal(answer, text);
    // A page that a proxy shows in between is no answer of the console's, and fails here.
    const data = text === "" ? null : JSON.parse(text);
    if (data?.serverTime) learn(Date.parse(data.serverTime), sentAt, receivedAt);
    return data;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal({ code: overdue.signal.aborted ? "timeout" : "unreachable" });
  } finally {
    clearTimeout(timer);
  }
}

function refusal(answer, text) {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {
    // A proxy in between has answered.
  }
  return new Refusal({
    code: typeof problem.code === "string" ? problem.code : `http_${answer.status}`,
    status: answer.status,
    problem,
    retryAfter: retryAfter(answer.headers.get("retry-after")),
    requestId: problem.requestId ?? answer.headers.get("x-request-id"),
  });
}

// Seconds; the header has them, or a date.
function retryAfter(text) {
  if (!text) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return Number.isFinite(seconds) ? Math.min(3_600, Math.max(0, seconds)) : null;
}

// A path with a query. Values that are null or empty are left out.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}
