// What happens, for everybody: shown for a while at the edge of the page, and read out by screen readers.
import { byId, el } from "./dom.js";

const SHOWN = 10_000;
const MOST = 2;

// News of the same thing takes the place of what was said of it before.
export function announce(sentence, about = "") {
  // A dialog covers and silences what is outside of it.
  const dialog = document.querySelector("dialog[open]");
  if (dialog) {
    dialog.addEventListener("close", () => announce(sentence, about), { once: true });
    return;
  }
  const place = byId("announcements");
  for (const older of [...place.children]) if (about && older.dataset.about === about) older.remove();
  const note = el("p", { "data-about": about }, sentence);
  place.append(note);
  while (place.childElementCount > MOST) place.firstElementChild.remove();
  setTimeout(() => note.remove(), SHOWN);
}
