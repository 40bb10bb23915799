// What happens, for everybody: shown for a while at the edge of the page, and read out by screen readers.
import { byId, el } from "../shared/dom.js";

const SHOWN = 10_000;
const MOST = 2;

export function announce(sentence) {
  // A dialog covers and silences what is outside of it.
  const dialog = document.querySelector("dialog[open]");
  if (dialog) {
    dialog.addEventListener("close", () => announce(sentence), { once: true });
    return;
  }
  const place = byId("announcements");
  const note = el("p", {}, sentence);
  place.append(note);
  while (place.childElementCount > MOST) place.firstElementChild.remove();
  setTimeout(() => note.remove(), SHOWN);
}
