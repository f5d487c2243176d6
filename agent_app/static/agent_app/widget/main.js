// Starts the chat in its page: greets the embedding page, then joins conversation and panel.
import { Conversation } from "./conversation.js";
import { greeted } from "./host.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { Sessions } from "./session.js";
import { Unread } from "./unread.js";

const place = document.getElementById("chat");
const { port, title, questions, userId, identity } = await greeted();

const sessions = new Sessions(place.dataset.api);
if (userId) sessions.identity = { user_id: userId, ...(identity && { identity }) };
const socketUrl = new URL(place.dataset.socket, location.href.replace(/^http/, "ws"));
const chat = new Conversation(sessions, new Outbox(), socketUrl);
const close = port && (() => port.postMessage({ type: "close" }));
const panel = new Panel(chat, { title, questions, onclose: close });
const unread = new Unread(chat, (count) => port?.postMessage({ type: "unread", count }));

const heard = {
  opened: () => {
    unread.show(true);
    panel.focus();
  },
  closed: () => unread.show(false),
  ask: ({ question }) => chat.send(question),
};

place.replaceChildren(panel.node);
document.title = panel.title;
document.addEventListener("keydown", (event) => event.key === "Escape" && !event.isComposing && close?.());
chat.addEventListener("begun", () => port?.postMessage({ type: "chatted" }));
await chat.start();
if (port) port.onmessage = ({ data }) => heard[data.type]?.(data);
else heard.opened();
