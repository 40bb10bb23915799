// The switches of a sale: pause it, let it go on, and change the stock of a product.
import { change, count, counted } from "../format.js";
import * as session from "../session.js";
import { ask } from "./ask.js";
import { attribute, el, text } from "../shared/dom.js";
import { button, field } from "./parts.js";

export const maySteer = ({ latest }) => session.maySwitch() && latest !== null && latest.steering !== "None";

// How a switch reaches the sale.
function way({ latest, namespace, name }, what) {
  if (latest.steering === "FlashSale")
    return `This changes ${what} of the FlashSale ${namespace}/${name} in Kubernetes; the operator carries it out.`;
  return "This changes the control file of the sale.";
}

// One button for both ways, so that it keeps the focus.
export function haltSwitch(sale) {
  const isHalted = () => sale.latest.summary.haltRequested;
  const node = button("", () => (isHalted() ? reopen(sale) : halt(sale)));
  return {
    node,
    draw() {
      text(node, isHalted() ? "Reopen sale" : "Halt sale");
      attribute(node, "class", isHalted() ? null : "danger");
    },
  };
}

function halt(sale) {
  ask({
    title: `Halt the sale ${sale.name}?`,
    sentences: () => [
      "New orders are refused with “The sale is paused” within 2 seconds.",
      "Orders that were accepted before go on and are settled. Buyers keep what they have.",
      way(sale, "spec.halted"),
    ],
    confirm: "Halt the sale",
    isDanger: true,
    act: (reason) => steer(sale, "halt", { reason }, `The sale ${sale.name} refuses new orders within 2 seconds.`),
  });
}

function reopen(sale) {
  ask({
    title: `Reopen the sale ${sale.name}?`,
    sentences: () => [
      sale.latest.summary.halt === "BooksDiffer"
        ? "It stays halted until its books agree, which they do not now; then new orders are taken again, for as long as the sale is open."
        : "New orders are taken again within 2 seconds, for as long as the sale is open.",
      way(sale, "spec.halted"),
    ],
    confirm: "Reopen the sale",
    act: (reason) => steer(sale, "reopen", { reason }, `The sale ${sale.name} is no longer halted on request.`),
  });
}

async function steer(sale, deed, body, done) {
  const { summary } = await session.send(`${sale.path}/${deed}`, body);
  sale.take({ summary });
  sale.again();
  return done;
}

export function stockButton(sale, { sku }) {
  const made = button("Change stock", () => changeStock(sale, sku));
  made.setAttribute("aria-label", `Change stock of ${sku}`);
  return made;
}

const productOf = ({ latest }, sku) => latest.products.find((product) => product.sku === sku);

function changeStock(sale, sku) {
  let product = productOf(sale, sku);
  const input = el("input", { id: "delta", type: "number", step: "1", required: true, autocomplete: "off" });
  const by = () => input.valueAsNumber || 0;
  const check = () => input.setCustomValidity(wrong(product, by()));
  input.addEventListener("input", check);
  check();
  ask({
    title: `Change the stock of ${sku}`,
    inputs: [field("Change by", input, "Units to put in, or with a minus to take out.")],
    sentences: () => [...outcome(product, by()), way(sale, `the stock of ${sku}`)],
    confirm: "Change the stock",
    act: (reason) => restock(sale, product, by(), reason),
    // Somebody else has changed it: the sentences are made of what there is now.
    async refused({ code }) {
      if (code !== "stale_version") return;
      await sale.read().catch(() => {});
      product = productOf(sale, sku) ?? product;
      check();
    },
  });
}

const committed = ({ reserved, sold }) => reserved + sold;

function wrong(product, by) {
  if (by === 0) return "Write how many units to put in or to take out.";
  if (product.stock + by >= committed(product)) return "";
  return `At the most ${counted(product.stock - committed(product), "unit")} can be taken out: the others are held or sold.`;
}

function outcome(product, by) {
  const { sku, stock, available } = product;
  if (by === 0) return [`Stock of ${sku} is ${count(stock)}; units left are ${count(available)}.`];
  const complaint = wrong(product, by);
  if (complaint) return [complaint];
  return [
    `Stock of ${sku} goes from ${count(stock)} to ${count(stock + by)}; units left go from ${count(available)} to ${count(available + by)}.`,
  ];
}

async function restock(sale, { sku, declaredStock }, delta, reason) {
  const { product } = await session.send(`${sale.path}/stock`, { sku, delta, expected: declaredStock, reason });
  const products = sale.latest.products.map((one) => (one.sku === sku ? product : one));
  sale.take({ products });
  sale.again();
  return `The stock of ${sku} was changed by ${change(delta)} and is ${count(product.stock)}.`;
}
