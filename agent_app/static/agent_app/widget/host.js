// The page that embeds us, over the port that embed.js sends: open, close, unread. Alone in a tab there is none.
const HELLO = "supportdesk";

/** What the embedding page says of itself, and its port; or nothing, when this page is open in a tab. */
export function greeted() {
  if (window.parent === window) return Promise.resolve({});
  return new Promise((resolve) => {
    window.addEventListener("message", (event) => {
      if (event.source !== window.parent || event.data?.type !== HELLO) return;
      resolve({ ...event.data, port: event.ports[0] });
    });
  });
}
