// The form that says from where on messages are read, and of which key.
import { el } from "../shared/dom.js";
import { choice, field } from "./parts.js";

const NEWEST = "50";
const WAYS = [
  ["last", "the newest"],
  ["offset", "from an offset on"],
  ["time", "from a time on"],
];

const wayOf = ({ offset, time }) => (offset ? "offset" : time ? "time" : "last");

// What is asked for: one of last, offset and time, and perhaps a key.
export function queryOf({ last, offset, time, key }) {
  const way = wayOf({ offset, time });
  const from = { last: last || NEWEST, offset, time }[way];
  return key ? { [way]: from, key } : { [way]: from };
}

// A field for a time knows only the reader's clock.
function local(rfc3339) {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export function formOf(onAsk) {
  const way = choice("way", WAYS, "last");
  const inputs = {
    last: el("input", { id: "last", type: "number", min: "1", max: "200", step: "1", required: true, value: NEWEST }),
    offset: el("input", { id: "offset", type: "number", min: "0", step: "1", required: true, value: "0" }),
    time: el("input", { id: "time", type: "datetime-local", step: "1", required: true }),
  };
  const key = el("input", { id: "key", autocomplete: "off", spellcheck: "false", maxlength: "300" });
  const fields = {
    last: field("How many", inputs.last),
    offset: field("Offset", inputs.offset),
    time: field("Time (your own)", inputs.time),
  };
  const submit = el("button", { type: "submit", class: "main" }, "Show them");
  const node = el(
    "form",
    { class: "row", "aria-label": "Messages" },
    field("Show", way),
    ...Object.values(fields),
    field("Only of this key", key),
    submit,
  );
  const draw = () => {
    for (const [name, part] of Object.entries(fields)) {
      part.hidden = way.value !== name;
      inputs[name].disabled = part.hidden;
    }
  };
  way.addEventListener("change", draw);
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    const from = inputs[way.value].value;
    onAsk(queryOf({ [way.value]: way.value === "time" ? new Date(from).toISOString() : from, key: key.value.trim() }));
  });
  return {
    node,
    fill(query) {
      way.value = wayOf(query);
      const from = query[way.value];
      inputs[way.value].value = way.value === "time" ? local(from) : from;
      key.value = query.key ?? "";
      draw();
    },
  };
}
