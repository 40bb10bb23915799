// Puts the storefront together: who is logged in decides what is read and listened to.
import * as attempts from "./attempts.js";
import * as notifications from "./notifications.js";
import * as orders from "./orders.js";
import * as sale from "./sale.js";
import * as session from "./session.js";
import * as socket from "./socket.js";
import { byId, textIfAny } from "./shared/dom.js";
import * as accountView from "./view/account.js";
import * as notificationsView from "./view/notifications.js";
import * as ordersView from "./view/orders.js";
import * as saleView from "./view/sale.js";

let followed = null;

// Begins anew for whoever is logged in now.
function follow() {
  const user = session.user()?._id ?? null;
  if (user === followed) return;
  followed = user;
  socket.stop();
  attempts.reset();
  orders.reset();
  notifications.reset();
  if (user) catchUp();
}

// Reads what there is, listens to what comes, and goes on with what was begun.
function catchUp() {
  const user = followed;
  attempts.resume();
  void orders.load();
  // The newest notification is where the updates go on.
  void notifications.load().then(() => {
    if (followed === user) socket.start(notifications.newestId());
  });
}

socket.updates.listen(({ id, data }) => {
  notifications.add(id, data);
  orders.follow(data);
});
socket.hellos.listen(({ more }) => {
  if (more || notifications.standing().state !== "read") void notifications.load();
  if (more || orders.standing().state !== "read") void orders.load();
});
const connection = {
  connecting: "News of your orders may be late: the shop is connected again…",
  replaced: "Updates come to another tab of yours. Come back to this one to get them here.",
};
// Most connections are there before anybody could read that they are not.
const UNSAID = 3_000;
let stateBefore = null;
let saying = null;
socket.states.listen((state) => {
  if (state === stateBefore) return;
  stateBefore = state;
  clearTimeout(saying);
  const say = () => textIfAny(byId("connection"), connection[state]);
  if (state === "connecting") saying = setTimeout(say, UNSAID);
  else say();
});
session.changes.listen(follow);

// A page that the back button brings back has slept: it looks again at everything.
addEventListener("pagehide", ({ persisted }) => persisted && socket.stop());
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  const before = followed;
  session.changes.tell({});
  sale.lookSoon();
  if (followed && followed === before) catchUp();
});

accountView.show();
saleView.show();
ordersView.show();
notificationsView.show();
void sale.watch();
follow();
