// Who is logged in, and the form to log in, which stands over whatever was on show.
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { announce } from "../shared/announce.js";
import { attribute, busy, byId, isFocusLost, text, textIfAny } from "../shared/dom.js";

export function show() {
  const dialog = byId("login-dialog");
  byId("login-form").addEventListener("submit", submit);
  // Nothing can be done without a login: Escape does not close it for good.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("close", () => !session.isIn() && dialog.showModal());
  byId("logout").addEventListener("click", ({ currentTarget }) => busy(currentTarget, logOut));
  session.changes.listen(({ isIn }) => {
    draw();
    if (!isIn && !dialog.open) dialog.showModal();
  });
}

async function submit(event) {
  event.preventDefault();
  const form = event.target;
  await busy(form.querySelector("[type=submit]"), async () => {
    complain("");
    const { email, password } = Object.fromEntries(new FormData(form));
    try {
      await session.logIn(email, password);
      form.reset();
      byId("login-dialog").close();
      announce(`You are logged in as ${name()}.`);
      focusOnward();
    } catch (refusal) {
      complain(whyNot(refusal));
      form.elements.password.focus();
    }
  });
}

// The browser puts the focus back to where it was; where that is gone, the view's heading takes it.
function focusOnward() {
  if (isFocusLost()) byId("main").querySelector("h1")?.focus();
}

async function logOut() {
  try {
    await session.logOut();
  } catch (refusal) {
    announce(whyNot(refusal));
  }
}

function complain(sentence) {
  textIfAny(byId("login-error"), sentence);
  for (const input of byId("login-form").querySelectorAll("input")) {
    attribute(input, "aria-describedby", sentence ? "login-error" : null);
  }
}

function name() {
  const user = session.user();
  return [user.firstName, user.lastName].filter(Boolean).join(" ") || user.email;
}

function draw() {
  const user = session.user();
  byId("account").hidden = !user;
  text(byId("who"), user ? name() : "");
  attribute(byId("who"), "title", user?.email);
  text(byId("version"), session.version() ? `Version ${session.version()}.` : "");
}
