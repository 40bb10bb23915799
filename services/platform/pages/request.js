// One request: JSON both ways, a deadline, and every failure as a `Refusal`.

// Why there is no good answer. Where nothing was answered, `status` is 0 and `code` is `unreachable` or `timeout`.
export class Refusal extends Error {
  constructor({ code, status = 0, problem = {}, retryAfter = null, requestId = null }) {
    super(code);
    Object.assign(this, { code, status, problem, retryAfter, requestId });
  }

  // Nobody knows whether the request was carried out.
  get isUnanswered() {
    return this.status === 0 || this.status >= 500;
  }

  // The same request may get a better answer later.
  get mayPass() {
    return this.isUnanswered || this.status === 429;
  }
}

// Sends it. `requestId` is what a refusal goes by where its answer has no id, or there is none.
export async function request(method, path, { body, headers, deadline, requestId = null }) {
  const sent = { accept: "application/json", ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  const overdue = new AbortController();
  const timer = setTimeout(() => overdue.abort(), deadline);
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
    if (!answer.ok) throw refusal(answer, text, requestId);
    // A page that a proxy or a network shows in between is no answer of the server's, and fails here.
    const data = text === "" ? null : JSON.parse(text);
    return { data, headers: answer.headers, sentAt, receivedAt };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal({ code: overdue.signal.aborted ? "timeout" : "unreachable", requestId });
  } finally {
    clearTimeout(timer);
  }
}

function refusal(answer, text, requestId) {
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
    requestId: problem.requestId ?? answer.headers.get("x-request-id") ?? requestId,
  });
}

// Seconds; the header has them, or a date.
function retryAfter(text) {
  if (!text) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return Number.isFinite(seconds) ? Math.min(3_600, Math.max(0, seconds)) : null;
}
