// What came while the chat was closed: counted from the last message that was on the screen, across pages and tabs.
import { recall, remember } from "./memory.js";

const READ = "supportdesk.read";

export class Unread {
  constructor(chat, tell) {
    this.chat = chat;
    this.tell = tell;
    this.open = false;
    chat.addEventListener("change", () => this.#count());
  }

  show(open) {
    this.open = open;
    this.#count();
  }

  #count() {
    const { session, messages, lastSeq, caughtUp } = this.chat;
    if (!session || !caughtUp) return;
    const [id, seq] = JSON.parse(recall(READ)) ?? [];
    const read = id === session.session_id ? seq : 0;
    if (this.open && lastSeq > read) remember(READ, JSON.stringify([session.session_id, lastSeq]));
    const unread = this.open ? 0 : messages.filter((message) => message.seq > read && message.role !== "customer").length;
    if (unread === this.told) return;
    this.told = unread;
    this.tell(unread);
  }
}
