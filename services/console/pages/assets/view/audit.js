// The last audit of the books in words, and the button for another one.
import { audit as sentences, whyNot, whyNotDone } from "../sentences.js";
import * as session from "../session.js";
import { busy, el, put, textIfAny } from "../shared/dom.js";
import { button, mark, part } from "./parts.js";

const EVERY = 2_000;
const SELDOM = 15_000;

export function auditOf(life, sale) {
  const words = el("div", { role: "status" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const path = `${sale.path}/audit`;
  let isRunning = false;
  const draw = ({ last }) => {
    isRunning = last !== null && last.finishedAt === null;
    put(words, wordsOf(last));
  };
  // While nothing goes on there is no hurry.
  let readAt = 0;
  let last = null;
  const read = async () => {
    if (!isRunning && Date.now() - readAt < SELDOM && last) return last;
    last = await session.read(path);
    readAt = Date.now();
    return last;
  };
  life.every(EVERY, read, draw, (refusal) => textIfAny(error, whyNot(refusal)));
  const begin = button("Audit now", () =>
    busy(begin, async () => {
      textIfAny(error, "");
      try {
        last = await session.send(path);
        draw(last);
      } catch (refusal) {
        textIfAny(error, whyNotDone(refusal));
      }
    }),
  );
  const choices = session.maySwitch() ? [el("div", { class: "choices" }, begin)] : [];
  return part("The last audit", words, error, ...choices);
}

function wordsOf(last) {
  const [verdict, ...rest] = sentences(last);
  const good = last?.finishedAt ? last.agrees && !last.failure : null;
  const differences = last?.finishedAt ? (last.differences ?? []) : [];
  const all = differences.length > 0 ? [el("ul", { class: "differences" }, ...differences.map((one) => el("li", {}, one)))] : [];
  return el("div", {}, el("p", {}, mark(good), verdict), ...rest.map((sentence) => el("p", {}, sentence)), ...all);
}
