// The buyer's notifications, and the number of those that are unread.
import { count, time } from "../format.js";
import * as notifications from "../notifications.js";
import * as orders from "../orders.js";
import * as sale from "../sale.js";
import { standing, whyNot } from "../sentences.js";
import { announce } from "../shared/announce.js";
import { attribute, busy, byId, el, list, text, textIfAny } from "../shared/dom.js";

export function show() {
  notifications.changes.listen(draw);
  orders.changes.listen(draw);
  byId("read-all").addEventListener("click", ({ currentTarget }) => {
    void tryTo(currentTarget, notifications.markAllRead, () => byId("notifications-title").focus());
  });
  byId("notifications-older").addEventListener("click", ({ currentTarget }) => {
    void tryTo(currentTarget, notifications.loadOlder);
  });
  byId("notification-list").addEventListener("click", ({ target }) => {
    const button = target.closest(".mark-read");
    if (!button) return;
    const { id } = button.closest(".notification").dataset;
    void tryTo(
      button,
      () => notifications.markRead(id),
      () => byId("notifications-title").focus(),
    );
  });
}

// The button that was pressed may vanish: then the focus goes on.
function tryTo(button, work, then = () => {}) {
  return busy(button, async () => {
    try {
      await work();
      then();
    } catch (refusal) {
      announce(whyNot(refusal));
    }
  });
}

function draw() {
  const { state, hasOlder } = notifications.standing();
  const shown = notifications.list();
  const { number, isMore } = notifications.unread();
  const written = `${count(number)}${isMore ? "+" : ""}`;
  const badge = byId("unread");
  badge.hidden = number === 0;
  text(badge, written);
  text(byId("unread-words"), number === 0 ? "" : " unread");
  byId("read-all").hidden = number === 0;
  byId("notifications-older").hidden = !hasOlder;
  const none = { unread: "Reading your notifications…", read: "There are none yet.", failed: "They cannot be read just now." };
  textIfAny(byId("notifications-note"), state === "failed" || shown.length === 0 ? none[state] : "");
  list(byId("notification-list"), shown, ({ _id }) => _id, make, update);
}

function make({ _id }) {
  return el(
    "li",
    { class: "notification", "data-id": _id },
    el("p", {}, el("span", { class: "new" }, "New"), " ", el("span", { class: "about" }), el("span", { class: "says" })),
    el("p", { class: "at" }),
    el("button", { type: "button", class: "mark-read" }, "Mark as read"),
  );
}

function update(node, one) {
  const of = (selector) => node.querySelector(selector);
  const order = orders.get(one.orderId);
  const about = order ? order.items.map(({ sku }) => sale.nameOf(sku)).join(", ") : `Order ${one.orderId.slice(0, 8)}`;
  attribute(node, "data-read", String(one.read));
  attribute(node, "data-status", one.status);
  text(of(".about"), `${about}: `);
  text(of(".says"), standing(one));
  text(of(".at"), time(one.createdAt));
  of(".new").hidden = one.read;
  of(".mark-read").hidden = one.read;
  attribute(of(".mark-read"), "aria-label", `Mark as read: ${about}, ${standing(one)}`);
}
