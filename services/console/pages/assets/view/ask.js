// A dialog that says what will happen, asks for a reason, and has it done once.
import { whyNotDone } from "../sentences.js";
import { announce } from "../shared/announce.js";
import { busy, byId, el, isFocusLost, replace, textIfAny } from "../shared/dom.js";
import { button, field } from "./parts.js";

const LONGEST_REASON = 500;
let number = 0;
let open = null;

// Closes the dialog of a view that is left.
export const dismiss = () => open?.close();

// `sentences()` say what will happen; `act(reason)` does it and gives the sentence for afterwards. `refused` may bring the
// sentences up to date before the refusal is read.
export function ask({ title, sentences, confirm, isDanger = false, needsReason = true, inputs = [], act, refused = () => {} }) {
  const id = `ask-${++number}`;
  const what = el("div", { id: `${id}-what`, class: "what" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const reason = el("textarea", { id: `${id}-reason`, rows: "3", maxlength: LONGEST_REASON, required: true });
  const no = button("Do nothing", () => dialog.close());
  const yes = el("button", { type: "submit", class: isDanger ? "danger" : "main" }, confirm);
  const asked = needsReason ? [field("Reason", reason, "It is kept in the log, with your name.")] : [];
  const form = el("form", { method: "dialog" }, ...inputs, what, ...asked, error, el("div", { class: "choices" }, no, yes));
  const dialog = el(
    "dialog",
    { "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-what` },
    el("h2", { id: `${id}-title` }, title),
    form,
  );
  const draw = () => replace(what, ...sentences().map((sentence) => el("p", {}, sentence)));

  form.addEventListener("input", () => {
    reason.setCustomValidity(reason.value.trim() || !reason.value ? "" : "Write a reason.");
    draw();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void busy(yes, async () => {
      textIfAny(error, "");
      try {
        const done = await act(reason.value.trim());
        dialog.close();
        announce(done);
      } catch (refusal) {
        await refused(refusal);
        draw();
        textIfAny(error, whyNotDone(refusal));
        if (!dialog.open) announce(whyNotDone(refusal));
      }
    });
  });
  const isBusy = () => yes.getAttribute("aria-busy") === "true";
  dialog.addEventListener("cancel", (event) => isBusy() && event.preventDefault());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (open === dialog) open = null;
    // The button that opened it may be gone.
    if (isFocusLost()) byId("main").querySelector("h2")?.focus();
  });
  draw();
  document.body.append(dialog);
  dialog.showModal();
  open = dialog;
  (inputs[0] ?? form).querySelector("input, textarea, button")?.focus();
}
