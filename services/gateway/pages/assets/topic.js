// One kind of news, and whoever listens to it.
export function topic() {
  const listeners = new Set();
  return {
    listen(listener) {
      listeners.add(listener);
    },
    tell(news) {
      for (const listener of listeners) listener(news);
    },
  };
}
