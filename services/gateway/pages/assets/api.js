// One request to the shop's API, by an id of its own.
import { uuid } from "./ids.js";
import { request } from "./shared/request.js";

const DEADLINE = 10_000;

export function call(method, path, { body, token, headers, deadline = DEADLINE } = {}) {
  const requestId = uuid();
  const sent = { "x-request-id": requestId, ...headers };
  if (token) sent.authorization = `Bearer ${token}`;
  return request(method, path, { body, headers: sent, deadline, requestId });
}
