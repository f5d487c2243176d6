// The log on the screen: rows by key, in order, grouped by sender, with a line between days.
import { markChosen, messageRow, pendingRow, sender, time } from "./bubble.js";
import { element, icon, PATHS } from "./element.js";
import { rendered } from "./markdown.js";
import { locale, strings } from "./strings.js";

const GROUP_MS = 5 * 60_000;
const GAP_PX = 12; // above an answer that is longer than the screen
const NEAR_PX = 80; // this close to the end the thread follows what is new
const dayName = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });

function day(at) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (at.toDateString() === today.toDateString()) return strings.today;
  return at.toDateString() === yesterday.toDateString() ? strings.yesterday : dayName.format(at);
}

export class Thread {
  #rows = new Map();
  #following = true;
  #resting = 0; // where we scrolled to
  seen = 0; // messages that were there when the customer last looked at the end

  constructor(chat) {
    this.chat = chat;
    // Finished messages alone stand in the log, so that only they are read out, once each and when they are whole.
    this.log = element("div", { role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-busy": "true" });
    this.pending = element("div", { class: "rows" });
    this.writing = element("div", { class: "row agent writing", hidden: true });
    this.node = element("div", { class: "thread", tabindex: "0" }, this.log, this.pending, this.writing);
    this.jump = element("button", { type: "button", class: "jump", hidden: true }, icon(PATHS.down), strings.newMessages);
    this.jump.addEventListener("click", () => this.follow());
    this.node.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.node);
  }

  render() {
    const { chat } = this;
    this.log.setAttribute("aria-busy", String(!chat.caughtUp && chat.link !== "idle"));
    this.#place(this.log, chat.messages.map((message) => this.#message(message)));
    this.#place(this.pending, this.#waiting().map((entry) => this.#entry(entry)));
    this.#forgetOthers();
    this.#group();
    this.#write();
    if (this.#following) this.#toEnd();
    else if (chat.messages.length > this.seen) this.jump.hidden = false;
  }

  follow() {
    this.#following = true;
    this.#toEnd();
  }

  /** Entries whose message has come are shown by the log already. */
  #waiting() {
    return this.chat.entries.filter((entry) => entry.kind !== "escalate");
  }

  #message(message) {
    const key = `m${message.id}`;
    const row = this.#rows.get(key) ?? { ...messageRow(message, this.chat), key, who: `${message.role} ${sender(message)}` };
    this.#rows.set(key, row);
    if (row.choices) this.#offer(row.choices, message);
    return row;
  }

  /** Choices are there while theirs is the newest message. A confirmation that was clicked stays, and says which it was. */
  #offer(choices, message) {
    const newest = message === this.chat.messages.at(-1);
    const chosen = message.confirm ? this.#chosen(message, newest) : null;
    choices.hidden = chosen === null && (this.chat.ended || !newest);
    if (message.confirm) markChosen(choices, chosen);
  }

  /** What was clicked on this card: here and not sent yet, or, as the log tells it, here or in another tab. */
  #chosen(message, newest) {
    const { id } = message.confirm;
    const ids = [id, `${id}:no`];
    if (newest) return this.chat.entries.find((entry) => ids.includes(entry.id))?.id ?? null;
    const { messages } = this.chat;
    const answer = messages.slice(messages.indexOf(message) + 1).find(({ role }) => role === "customer")?.text;
    return ids[[strings.confirmed, strings.declined].indexOf(answer)] ?? null;
  }

  #entry(entry) {
    const key = `c${entry.client_id}`;
    const row = this.#rows.get(key) ?? { ...pendingRow(entry, this.chat), key, who: `customer ${strings.you}` };
    this.#rows.set(key, row);
    row.failed.hidden = !entry.failed;
    row.failed.firstChild.textContent = entry.failed ? `${strings.failed} ${entry.failed}` : "";
    row.state = this.chat.link === "open" ? strings.sending : strings.queued;
    row.node.classList.toggle("refused", Boolean(entry.failed));
    return row;
  }

  /** Only what is out of place moves: a node that is put in again would be read out again. */
  #place(parent, rows) {
    this.placed = parent === this.log ? rows : [...this.placed, ...rows];
    let next = rowFrom(parent.firstChild);
    for (const { node } of rows) {
      if (node === next) next = rowFrom(next.nextSibling);
      else parent.insertBefore(node, next);
    }
  }

  #forgetOthers() {
    const placed = new Set(this.placed.map((row) => row.key));
    for (const [key, row] of this.#rows) {
      if (placed.has(key)) continue;
      row.node.remove();
      row.day?.remove();
      this.#rows.delete(key);
    }
  }

  #group() {
    this.placed.forEach((row, index) => {
      const before = this.placed[index - 1];
      const after = this.placed[index + 1];
      row.node.classList.toggle("first", !together(before, row));
      row.node.classList.toggle("last", !together(row, after));
      this.#separate(row, before);
      const text = row.state ?? (row.stopped ? `${strings.stopped} · ${time(row.at)}` : time(row.at));
      if (row.foot.textContent !== text) row.foot.textContent = text;
    });
  }

  #separate(row, before) {
    const needed = !before || before.at.toDateString() !== row.at.toDateString();
    if (needed && !row.day) row.day = element("p", { class: "day" }, day(row.at));
    if (needed && row.node.previousSibling !== row.day) row.node.before(row.day);
    if (!needed) row.day?.remove();
  }

  /** The answer while it is written, or dots before its first word, with what is being done. */
  #write() {
    const { turn, typing, who } = this.chat;
    this.writing.hidden = !turn && !typing;
    const about = turn ? turn.tool && (strings.tools[turn.tool] ?? strings.tools.other) : typing && strings.writing(who ?? strings.team);
    const shown = turn?.text || `${this.writing.hidden} ${about}`;
    if (shown === this.written) return; // the dots go on moving
    this.written = shown;
    if (turn?.text) this.writing.replaceChildren(element("div", { class: "bubble" }, streamed(turn.text)));
    else this.writing.replaceChildren(dots(), about ? element("span", { class: "chip" }, about) : "");
  }

  #scrolled() {
    if (Math.abs(this.node.scrollTop - this.#resting) < 2) return; // we moved it ourselves
    this.#following = this.node.scrollHeight - this.node.scrollTop - this.node.clientHeight < NEAR_PX;
    if (!this.#following) return;
    this.seen = this.chat.messages.length;
    this.jump.hidden = true;
  }

  /** To the end, but not past the beginning of a long answer: it is read from there. */
  #toEnd() {
    const newest = this.writing.hidden ? (this.pending.lastElementChild ?? this.log.lastElementChild) : this.writing;
    const answer = newest && !newest.classList.contains("customer");
    this.node.scrollTop = answer ? Math.min(newest.offsetTop - GAP_PX, this.node.scrollHeight) : this.node.scrollHeight;
    this.#resting = this.node.scrollTop;
    this.seen = this.chat.messages.length;
    this.jump.hidden = true;
  }
}

/** The node itself or the first after it that is no line between days. */
function rowFrom(node) {
  while (node?.classList.contains("day")) node = node.nextSibling;
  return node;
}

function together(one, other) {
  return one && other && one.who === other.who && other.at - one.at < GROUP_MS;
}

function dots() {
  const moving = [element("i"), element("i"), element("i")];
  return element("div", { class: "bubble dots", role: "img", "aria-label": strings.thinking }, ...moving);
}

function streamed(text) {
  return element("div", { class: "text", dir: "auto" }, rendered(text));
}
