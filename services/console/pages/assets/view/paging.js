// A list that is read page by page, with a button for more.
import { withQuery } from "../api.js";
import { whyNot } from "../sentences.js";
import * as session from "../session.js";
import { busy, textIfAny, el } from "../shared/dom.js";
import { button } from "./parts.js";

// `path()` with `query()` is read; `draw(items)` shows all that was read so far.
export function paged(life, { path, query = () => ({}), draw }) {
  let items = [];
  let cursor = null;
  let round = 0;
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const more = button("Show more", () => busy(more, () => read(cursor)));
  more.hidden = true;

  async function read(from) {
    const mine = ++round;
    try {
      const found = await session.read(withQuery(path(), { ...query(), cursor: from }));
      if (mine !== round || life.isOver) return;
      items = from === null ? found.items : [...items, ...found.items];
      cursor = found.nextCursor;
      more.hidden = !cursor;
      textIfAny(error, "");
      draw(items);
    } catch (refusal) {
      if (mine === round && !life.isOver) textIfAny(error, whyNot(refusal));
    }
  }

  return {
    node: el("div", { class: "paging" }, error, more),
    // Reads from the beginning.
    read: () => read(null),
    // Puts another item in the place of one with the same `_id`.
    put(item) {
      items = items.map((one) => (one._id === item._id ? item : one));
      draw(items);
    },
    drop(id) {
      items = items.filter(({ _id }) => _id !== id);
      draw(items);
    },
  };
}
