// Puts the console together: who is logged in, where they are, and the view that belongs there.
import { everySecond } from "./shared/clock.js";
import { life } from "./life.js";
import { parse } from "./route.js";
import * as session from "./session.js";
import * as account from "./view/account.js";
import { dismiss } from "./view/ask.js";
import * as banner from "./view/banner.js";
import { tick } from "./view/countdown.js";
import { byId, el, replace } from "./shared/dom.js";
import { failure, heading } from "./view/parts.js";
import * as sale from "./view/sale.js";
import * as sales from "./view/sales.js";

const nothing = {
  title: () => "Not found",
  keyOf: ({ path }) => path,
  show(place) {
    replace(place, heading(1, "There is no such page"), el("p", {}, el("a", { href: "#/" }, "All sales")));
  },
};

const views = { sales, sale, nothing };
let shown = null;
let shownTo = null;

// Shows what the address says. What is on show already is told of the change, and keeps its state.
function follow() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const route = parse(location.hash);
  const view = views[route.view];
  const key = `${route.view} ${view.keyOf(route)}`;
  document.title = `${view.title(route)} · QuickSale console`;
  if (shown?.key === key) {
    dismiss();
    shown.turn?.(route);
    return;
  }
  const isFirst = shown === null;
  leave();
  const main = byId("main");
  main.replaceChildren();
  shown = { key, life: life() };
  shown.turn = view.show(main, route, shown.life)?.turn;
  if (!isFirst) main.querySelector("h1")?.focus();
}

function leave() {
  dismiss();
  shown?.life.end();
  shown = null;
}

// Somebody else sees nothing of what was on show before.
session.changes.listen(({ isIn }) => {
  const now = session.user()?._id ?? null;
  if (!isIn && now !== null) return;
  if (now === shownTo) return;
  shownTo = now;
  leave();
  if (now) follow();
  else replace(byId("main"), heading(1, "You are logged out"));
});

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", () => session.user() && follow());

async function start() {
  try {
    await session.look();
  } catch (refusal) {
    const again = el("button", { type: "button" }, "Try again");
    again.addEventListener("click", start);
    // An account that may not see anything may make place for another one.
    const other = el("button", { type: "button" }, "Log in as somebody else");
    other.addEventListener("click", () => session.logOut().then(start, start));
    const ways = el("div", { class: "choices" }, again, refusal.status === 403 ? other : "");
    replace(byId("main"), heading(1, "QuickSale console"), failure(refusal), ways);
  }
}

account.show();
banner.show();
everySecond(tick);
void start();
