// What the console says to people: about refusals, phases, conditions and audits.
import { count, counted, time, wait } from "./format.js";

const own = {
  unreachable: "The console cannot be reached. Look at your connection, and whether the console runs.",
  timeout: "The console did not answer in time.",
};

const byStatus = {
  401: "You are not logged in any more. Log in, then try again.",
  403: "This is not allowed here.",
  404: "There is no such thing.",
  502: "The console cannot be reached: something in front of it does not get through.",
  503: "Something that the console asks does not answer now.",
  504: "The console did not answer in time.",
};

const ended = (sentence) => sentence.replace(/[^.!?…]$/, "$&.");

// Why something was refused. The sentence of the server comes first.
export function whyNot(refusal) {
  if (!(refusal instanceof Error) || refusal.code === undefined) return "Something went wrong in this page. Reload it.";
  const { problem = {}, status, code, retryAfter, requestId } = refusal;
  const known =
    problem.detail || own[code] || byStatus[status] || problem.title || "The console answered in a way this page does not know.";
  const fields = (problem.errors ?? []).map(({ field, detail }) => ended(`${field}: ${detail}`));
  const later = retryAfter ? [`Try again in ${wait(retryAfter)}.`] : [];
  const reference = status >= 500 && requestId ? [`The number of this request is ${requestId}.`] : [];
  return [ended(known), ...fields, ...later, ...reference].join(" ");
}

// The same for what changes something: without an answer nobody knows whether it was done.
export function whyNotDone(refusal) {
  const unknown = refusal.isUnanswered
    ? " Whether it was carried out is not known: look at the tab Log before you try again."
    : "";
  return `${whyNot(refusal)}${unknown}`;
}

const phases = {
  Pending: "Not begun",
  Warming: "Warming up",
  Live: "Live",
  Draining: "Draining",
  Ended: "Ended",
  Unreadable: "Cannot be read",
};

export const isHalted = ({ halt, phase: name }) => halt !== "No" && name !== "Ended";

export function phase(summary) {
  const word = phases[summary.phase] ?? summary.phase;
  return isHalted(summary) ? `${word}, halted` : word;
}

const phaseMeanings = {
  Pending: "Nothing is made for it yet.",
  Warming: "Its services start, and its products are loaded.",
  Live: "It is open, and orders are taken.",
  Draining: "No new orders are taken; the accepted ones are settled.",
  Ended: "It is over. Buyers can read their orders for as long as its services stay.",
  Unreadable: "The console cannot read it; the conditions say why.",
};

const halts = {
  OnRequest: "New orders are refused on request: buyers read “The sale is paused”. Accepted ones go on.",
  BooksDiffer:
    "New orders are refused, because ledger, stock and orders do not agree: buyers read “The sale is paused”. It goes on by itself once they do; see Ledger and audit.",
};

export function phaseMeaning(summary) {
  if (isHalted(summary) && summary.phase === "Live") return halts[summary.halt];
  return phaseMeanings[summary.phase] ?? "";
}

// What the time that is counted down to will bring.
export function nextTime({ phase: name, opensAt, closesAt }) {
  if ((name === "Pending" || name === "Warming") && opensAt) return { label: "Opens in", at: opensAt };
  if (name === "Live" && closesAt) return { label: "Closes in", at: closesAt };
  return null;
}

const conditions = {
  Ready: ["It is ready.", "It is not ready."],
  BackendsReachable: ["MongoDB, Kafka and Redis answer.", "A backend does not answer."],
  BackendsSecure: ["Backends are reached over TLS.", "A backend is reached without TLS."],
  TopicsReady: ["The topics are there.", "The topics are not ready."],
  WorkloadsReady: ["Every service is rolled out.", "Not every service is rolled out."],
  CatalogReady: ["The products are as they are written.", "The products are not as they are written."],
  StockConserved: ["The ledger adds up to the stock.", "The ledger does not add up to the stock."],
  Halted: ["The sale is halted.", "The sale is not halted."],
  Degraded: ["Something that should work does not.", "Nothing is degraded."],
};

// A condition as a sentence of ours and what was said about it.
export function condition({ type, status, reason, message, good }) {
  const [yes, no] = conditions[type] ?? [`${type} is true.`, `${type} is not true.`];
  const first = status === "True" ? yes : status === "False" ? no : `${type} is not known.`;
  const rest = message ? ended(message) : reason && good === false ? `Reason: ${reason}.` : "";
  return rest && rest !== first ? `${first} ${rest}` : first;
}

export const judgement = (good) => (good === true ? "Good" : good === false ? "Needs attention" : "Note");

export const orderStatus = (status) =>
  ({ PENDING: "Pending", CONFIRMED: "Confirmed", FAILED: "Failed", CANCELLED: "Cancelled", EXPIRED: "Expired" })[status] ??
  status;

// A code as words: `sold_out` becomes "sold out".
export const words = (code) => String(code ?? "").replaceAll("_", " ");

const looked = ({ products, entries, orders, reservations }) =>
  `${counted(products, "product")}, ${counted(entries, "entry", "entries")} of the ledger, ${counted(orders, "order")} and ${counted(reservations, "reservation")} were read.`;

// What the last audit has found, in sentences.
export function audit(last) {
  if (!last) return ["The books have not been audited yet."];
  if (!last.finishedAt) return [`An audit began at ${time(last.startedAt)} and goes on.`];
  if (last.failure) return [`The audit of ${time(last.finishedAt)} could not be finished.`, ended(last.failure)];
  const differ = last.more ? `more than ${count(last.differences.length)} places` : counted(last.differences.length, "place");
  const verdict = last.agrees ? "The books agree." : `The books differ in ${differ}.`;
  const moving =
    last.moving > 0 ? [`${counted(last.moving, "order")} wait for messages that are on their way: audit again later.`] : [];
  return [`${verdict} The audit ended at ${time(last.finishedAt)}.`, looked(last), ...moving];
}
