// Starts the live desk on the page that the server made: list, chat, details, keys and sound, over one socket.
import { Unreachable } from "../widget/api.js";
import { Outbox } from "../widget/outbox.js";
import { Canned } from "./canned.js";
import { Chime } from "./chime.js";
import { Desk } from "./desk.js";
import { Details } from "./details.js";
import { Inbox } from "./inbox.js";
import { Outgoing } from "./outgoing.js";
import { fetchPage, swap } from "./page.js";
import { Shortcuts } from "./shortcuts.js";
import { Thread } from "./thread.js";

const place = document.getElementById("desk");
const content = document.getElementById("content");
const link = document.getElementById("link");
const here = document.getElementById("here");
const NARROW = matchMedia("(max-width: 820px)");
const socketUrl = new URL(place.dataset.socket, location.href.replace(/^http/, "ws"));
const LINKS = {
  connecting: "",
  open: "",
  lost: "The connection is lost. Trying again; what you write is kept.",
  refused: "The desk refuses the connection. Reload the page to try again.",
};

const outgoing = new Outgoing(new Outbox(`supportdesk.desk.${place.dataset.user}`));
const desk = new Desk(socketUrl, outgoing);
const inbox = new Inbox(desk, new Chime(document.getElementById("sound")));
const details = new Details(say);
const canned = new Canned(() => desk.canned());
let thread = null;

/** A sentence above the chat; one that is about something that went wrong is read out at once. */
function say(text, wrong = false) {
  const note = document.getElementById("notice");
  if (!note) return;
  note.setAttribute("role", wrong ? "alert" : "status");
  note.classList.toggle("wrong", wrong);
  note.querySelector("span").textContent = text;
  note.hidden = !text;
}

function begin() {
  details.opened();
  if (!content.dataset.thread) return;
  document.getElementById("notice").querySelector("button").addEventListener("click", () => say(""));
  // On a phone a packet that has been read would leave no room to write.
  if (NARROW.matches && content.dataset.state === "human") content.querySelector(".packet")?.removeAttribute("open");
  thread = new Thread(desk, content, { canned, say, refresh });
}

/** Packet and details, as the server makes them now. */
async function refresh() {
  try {
    const page = await details.refresh(location.pathname + location.search);
    if (page.getElementById("content").dataset.thread !== content.dataset.thread) return;
    const [packet, fresh] = [document, page].map((each) => each.getElementById("packet-place"));
    const shown = packet.querySelector(".packet");
    if (shown) fresh.querySelector(".packet")?.toggleAttribute("open", shown.open); // as its reader left it
    swap(packet, fresh);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error; // the next change brings it
  }
}

/** Shows the page at `url` in place: the chat with its details, or none. */
async function go(url) {
  let page;
  content.classList.add("coming");
  try {
    page = await fetchPage(url, { part: "chat" });
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    return say("The desk cannot be reached: this chat opens when it is back. Try again.", true);
  } finally {
    content.classList.remove("coming");
  }
  if (url !== location.pathname + location.search) return undefined; // somebody went on meanwhile
  const fresh = page.getElementById("content");
  thread?.end();
  thread = null;
  for (const name of ["thread", "state", "assignee", "assigneeName"]) {
    if (fresh.dataset[name]) content.dataset[name] = fresh.dataset[name];
    else delete content.dataset[name];
  }
  content.replaceChildren(...fresh.childNodes);
  details.parts.replaceChildren(...page.getElementById("details-parts").childNodes);
  const shown = Boolean(content.dataset.thread);
  document.body.classList.toggle("showing-thread", shown);
  document.body.classList.toggle("showing-list", !shown);
  inbox.mark(content.dataset.thread);
  inbox.entitle(document.getElementById("log")?.dataset.name);
  begin();
  return undefined;
}

function open(id) {
  const url = id ? `/desk/${id}/${inbox.place}` : `/desk/${inbox.place}`;
  if (id && id === content.dataset.thread) {
    // On a phone the list may lie over it.
    document.body.classList.replace("showing-list", "showing-thread");
    return;
  }
  history.pushState(null, "", url);
  go(url);
}

inbox.addEventListener("open", ({ detail }) => open(detail));
inbox.addEventListener("moved", () => {
  const id = content.dataset.thread;
  history.replaceState(null, "", id ? `/desk/${id}/${inbox.place}` : `/desk/${inbox.place}`);
});
window.addEventListener("popstate", () => go(location.pathname + location.search));
content.addEventListener("click", (event) => {
  if (!event.target.closest(".back")) return;
  event.preventDefault();
  const card = document.getElementById(`card-${content.dataset.thread}`);
  open(null);
  (card ?? document.querySelector("#tabs [aria-current]")).focus();
});

desk.addEventListener("link", () => (link.textContent = LINKS[desk.link]));
desk.addEventListener("standing", () => {
  here.setAttribute("aria-pressed", String(desk.online));
  here.querySelector(".label").textContent = desk.online ? "Online" : "Away";
  here.title = desk.online ? "Customers are told that somebody is there" : "You do not count as being there";
});
here.addEventListener("click", () => desk.beHere(!desk.online));

new Shortcuts({
  j: () => inbox.step(1),
  k: () => inbox.step(-1),
  r: () => thread?.composer.switchTo("reply").focus(),
  n: () => desk.allows("note") && thread?.composer.switchTo("note").focus(),
  t: () => thread?.switchHands(),
  e: () => thread?.do("resolve"),
  "/": () => thread?.composer.pick(),
  escape: () => say(""),
});

document.querySelector(".tools").hidden = false;
begin();
inbox.mark(content.dataset.thread);
await desk.start();
