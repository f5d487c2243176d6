// Keeps the desk's page up to date: fetches it again while somebody looks, and swaps only the parts that changed.
const EVERY_MS = 5000;
const parser = new DOMParser();
const stale = document.getElementById("stale");
const messages = document.getElementById("messages");

function atEnd() {
  return messages && messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
}

function toEnd() {
  if (messages) messages.scrollTop = messages.scrollHeight;
}

/** Children go in one by one, so that a log reads out only what is new and a focused link keeps its focus. */
function swap(old, fresh) {
  const wanted = fresh.children.length; // counted now: putting a child in here takes it out there
  const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
  [...fresh.children].forEach((child, index) => {
    const there = old.children[index];
    if (!there) old.append(child);
    else if (!there.isEqualNode(child)) there.replaceWith(child);
  });
  while (old.children.length > wanted) old.lastElementChild.remove();
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function show(page) {
  const followed = atEnd();
  document.title = page.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh && !part.isEqualNode(fresh)) swap(part, fresh);
  }
  if (followed) toEnd();
}

async function refresh() {
  const response = await fetch(location.href);
  // Logged out, or no longer allowed: the server's own page says so.
  if (response.redirected || response.status === 403) return location.reload();
  if (response.ok) show(parser.parseFromString(await response.text(), "text/html"));
  else throw new TypeError(response.statusText);
  stale.textContent = "";
  return undefined;
}

async function keepFresh() {
  try {
    if (document.visibilityState === "visible") await refresh();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's word for a network that is away, and ours above
    stale.textContent = stale.dataset.text;
  }
  setTimeout(keepFresh, EVERY_MS);
}

toEnd();
setTimeout(keepFresh, EVERY_MS);
