// One kind of news, and whoever listens to it until it lets go.
export function topic() {
  const listeners = new Set();
  return {
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    tell(news) {
      for (const listener of listeners) listener(news);
    },
  };
}
