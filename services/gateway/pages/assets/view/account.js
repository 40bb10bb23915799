// Who is logged in, and the dialog to log in and to register.
import * as session from "../session.js";
import { whyNot } from "../sentences.js";
import { announce } from "../shared/announce.js";
import { attribute, busy, byId, text, textIfAny } from "../shared/dom.js";

const forms = {
  login: { title: "Log in", id: "login-form", send: ({ email, password }) => session.logIn(email, password) },
  register: { title: "Make an account", id: "register-form", send: (fields) => session.register(fields) },
};

export function show() {
  for (const which of Object.keys(forms)) {
    byId(`${which}-open`).addEventListener("click", () => openAccount(which));
    byId(`to-${which}`).addEventListener("click", () => turnTo(which));
    byId(forms[which].id).addEventListener("submit", (event) => submit(event, which));
  }
  byId("account-close").addEventListener("click", () => byId("account-dialog").close());
  // What was typed is not for whoever comes next.
  byId("account-dialog").addEventListener("close", () => {
    for (const { id } of Object.values(forms)) byId(id).reset();
    textIfAny(byId("account-error"), "");
    // The button that opened it is gone once somebody is logged in.
    const focused = document.activeElement;
    if (focused === document.body || focused.getClientRects().length === 0) byId("title").focus();
  });
  byId("logout").addEventListener("click", () => {
    void session.logOut();
    announce("You are logged out.");
    byId("login-open").focus();
  });
  session.changes.listen(({ ended }) => {
    draw();
    if (ended) announce("Your session has ended. Please log in again.");
  });
  draw();
}

export function openAccount(which) {
  turnTo(which);
  const dialog = byId("account-dialog");
  if (!dialog.open) dialog.showModal();
  firstField(which).focus();
}

const firstField = (which) => byId(forms[which].id).querySelector("input");

function turnTo(which) {
  for (const [name, { id, title }] of Object.entries(forms)) {
    byId(id).hidden = name !== which;
    if (name === which) text(byId("account-title"), title);
  }
  complain("", []);
  firstField(which).focus();
}

async function submit(event, which) {
  event.preventDefault();
  const form = event.target;
  await busy(form.querySelector("[type=submit]"), async () => {
    complain("", []);
    try {
      await forms[which].send(Object.fromEntries(new FormData(form)));
      byId("account-dialog").close();
      announce(`You are logged in as ${session.user()?.firstName}.`);
    } catch (refusal) {
      const wrong = (refusal.problem?.errors ?? []).map(({ field }) => form.elements.namedItem(field)).filter(Boolean);
      if (refusal.code === "email_taken") wrong.push(form.elements.email);
      complain(whyNot(refusal, { doing: "login" }), wrong);
      (wrong[0] ?? form.elements.password).focus();
    }
  });
}

// Says what is wrong, and with which fields.
function complain(sentence, wrong) {
  textIfAny(byId("account-error"), sentence);
  for (const input of byId("account-dialog").querySelectorAll("input")) {
    const isWrong = wrong.includes(input);
    attribute(input, "aria-invalid", isWrong ? "true" : null);
    const hint = input.dataset.hint ?? null;
    attribute(input, "aria-describedby", isWrong ? ["account-error", hint].filter(Boolean).join(" ") : hint);
  }
}

function draw() {
  const user = session.user();
  byId("logged-out").hidden = Boolean(user);
  byId("logged-in").hidden = !user;
  for (const part of document.querySelectorAll("[data-buyers-only]")) part.hidden = !user;
  textIfAny(byId("who"), user && [user.firstName, user.lastName].filter(Boolean).join(" "));
}
