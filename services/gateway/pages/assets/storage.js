// Small JSON values that last in this browser, for all tabs of the shop.
const PREFIX = "quicksale.";
// For browsers whose storage is full or blocked: then values last as long as the page.
const unsaved = new Map();

export function read(name) {
  if (unsaved.has(name)) return unsaved.get(name);
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    unsaved.delete(name);
  } catch {
    unsaved.set(name, value);
  }
}

export function remove(name) {
  unsaved.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // Nothing could be kept there either.
  }
}

// The names of all values that begin so.
export function names(start) {
  const found = new Set([...unsaved.keys()]);
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX)) found.add(key.slice(PREFIX.length));
    }
  } catch {
    // Only what was not saved is there.
  }
  return [...found].filter((name) => name.startsWith(start));
}

// Calls the listener with the event when another tab has changed a value whose name begins so, or has removed everything.
export function onOtherTab(start, listener) {
  addEventListener("storage", (event) => {
    if (event.key === null || event.key.startsWith(PREFIX + start)) listener(event);
  });
}
