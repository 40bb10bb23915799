// One request to the console's API. What its answers say of the time sets the clock.
import { learn } from "./shared/clock.js";
import { request } from "./shared/request.js";

const DEADLINE = 20_000;

export async function call(method, path, body) {
  const { data, sentAt, receivedAt } = await request(method, path, { body, deadline: DEADLINE });
  if (data?.serverTime) learn(Date.parse(data.serverTime), sentAt, receivedAt);
  return data;
}

// A path with a query. Values that are null or empty are left out.
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}
