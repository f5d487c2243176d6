// The desk's pages as the server makes them, fetched so that a click or a change costs no reload of everything.
import { Unreachable } from "../widget/api.js";

const parser = new DOMParser();

/** The page at `url`, or only that `part` of it, as a document; Unreachable when the desk is away. Reloads when it says that the login is over. */
export async function fetchPage(url, { signal, part } = {}) {
  const asked = new URL(url, location.href);
  if (part) asked.searchParams.set("part", part);
  let response;
  try {
    response = await fetch(asked, { signal });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's word for a network that is away
    throw new Unreachable();
  }
  if (response.status >= 500) throw new Unreachable();
  // Logged out, no longer allowed, or gone: the server's own page says so.
  if (!response.ok || new URL(response.url).pathname !== asked.pathname) {
    location.assign(url);
    throw new Unreachable();
  }
  return parser.parseFromString(await response.text(), "text/html");
}

/** Puts the children of `fresh` in place of those of `old`, one by one, so that what did not change stays untouched. */
export function swap(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const children = [...fresh.children];
  const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
  const known = new Map([...old.children].map((child) => [keyOf(child), child]));
  children.forEach((child, index) => {
    const same = known.get(keyOf(child));
    const kept = same?.isEqualNode(child) ? same : child;
    const there = old.children[index];
    if (kept === there) return;
    if (there) old.insertBefore(kept, there);
    else old.append(kept);
    if (same && same !== kept) same.remove();
  });
  while (old.children.length > children.length) old.lastElementChild.remove();
  if (focused && focused !== document.activeElement?.id) document.getElementById(focused)?.focus({ preventScroll: true });
}

function keyOf(node) {
  return node.id || node.querySelector("[id]")?.id || node.outerHTML;
}

/** The site's CSRF token, from the form that logs out. */
export function csrfToken() {
  return document.querySelector("[name=csrfmiddlewaretoken]").value;
}
