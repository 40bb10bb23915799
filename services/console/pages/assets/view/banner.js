// The line that says since when what is on show is old.
import { time } from "../format.js";
import { whyNot } from "../sentences.js";
import * as stale from "../stale.js";
import { byId, textIfAny } from "../shared/dom.js";

export function show() {
  stale.changes.listen((oldest) => {
    const sentence =
      oldest && `What is shown is of ${time(oldest.since)} and older: it cannot be read again now. ${whyNot(oldest.refusal)}`;
    textIfAny(byId("stale"), sentence);
  });
}
