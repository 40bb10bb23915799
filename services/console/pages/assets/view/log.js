// The log of a sale: who did what through this console, and why.
import { words } from "../sentences.js";
import { busy, el, replace } from "../shared/dom.js";
import { paged } from "./paging.js";
import { badge, button, distinct, moment, note } from "./parts.js";
import { table } from "./table.js";

export function show(place, route, life, { sale }) {
  const log = table({ caption: "Deeds, newest first", columns, keyOf: ({ key }) => key, none: "Nothing was done yet." });
  const draw = (items) => log.draw(distinct(items, ({ at, who, what }) => `${at} ${who} ${what}`));
  const pages = paged(life, { path: () => `${sale.path}/deeds`, draw });
  const again = button("Look again", () => busy(again, pages.read));
  replace(
    place,
    note("What was begun here is kept, with how it ended. What was refused before it began is not."),
    el("div", { class: "choices" }, again),
    log.node,
    pages.node,
  );
  void pages.read();
}

const outcomes = {
  done: ["done", "good"],
  refused: ["refused", "bad"],
  unknown: ["not known: look whether it was done", "bad"],
  begun: ["begun, and not ended: look whether it was done", "bad"],
};

const columns = [
  { head: "At", cell: ({ at }) => moment(at) },
  { head: "Who", cell: ({ who }) => who },
  { head: "What", cell: ({ what, detail }) => `${words(what)}${detail ? `: ${detail}` : ""}` },
  { head: "Reason", cell: ({ reason }) => reason ?? "–" },
  { head: "Outcome", cell: ({ outcome }) => badge(...(outcomes[outcome] ?? [outcome])) },
];
