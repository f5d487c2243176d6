// The messages and notes of one chat: the server's first, then what comes. Finished ones stand in the log, so that only
// they are read out; what is being written or waits to be sent stands below it.
import { element } from "../widget/element.js";
import { citationLink, rendered } from "../widget/markdown.js";

const NEAR_PX = 80; // this close to the end the log follows what is new
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const template = document.getElementById("message-template");

export class Log {
  #following = true;
  #pending = new Map();

  constructor(root, outgoing) {
    this.outgoing = outgoing;
    this.box = root.querySelector("#messages");
    this.node = root.querySelector("#log");
    this.pending = root.querySelector("#pending");
    this.writing = root.querySelector("#writing");
    this.jump = root.querySelector("#jump");
    this.name = this.node.dataset.name;
    this.lastSeq = Math.max(0, ...this.#all("[data-seq]").map((row) => Number(row.dataset.seq)));
    this.lastNote = Math.max(0, ...this.#all("[data-note]").map((row) => Number(row.dataset.note)));
    this.box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.jump.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.box);
    for (const moment of this.#all("time")) moment.textContent = time.format(new Date(moment.dateTime)); // in local time
    this.#toEnd();
  }

  get place() {
    return { last_seq: this.lastSeq, last_note: this.lastNote };
  }

  /** False when there is a gap before it: ask again from where we are. */
  message(message) {
    if (message.seq <= this.lastSeq) return true;
    if (message.seq > this.lastSeq + 1) return false;
    this.lastSeq = message.seq;
    this.#append(this.#messageRow(message), message.created_at);
    return true;
  }

  note(note) {
    if (note.id <= this.lastNote) return;
    this.lastNote = note.id;
    const next = this.#all("[data-seq]").find((row) => Number(row.dataset.seq) > note.after);
    const row = this.#row("note", note.author, note.created_at, note.text);
    row.dataset.note = note.id;
    row.id = `note-${note.id}`;
    if (next) next.before(row);
    else this.#append(row, note.created_at);
  }

  /** The answer as it is written; null when nothing is. */
  write(turn) {
    this.writing.hidden = !turn;
    if (!turn) return;
    const by = element("p", { class: "by" }, element("strong", {}, "AI"), turn.tool ? ` is using ${turn.tool.replaceAll("_", " ")}…` : " is writing…");
    this.writing.replaceChildren(by, element("div", { class: "text", dir: "auto" }, turn.text ? rendered(turn.text) : ""));
    this.#grown();
  }

  /** What waits to be sent, or was refused. */
  wait(entries, online) {
    const shown = new Map(entries.map((entry) => [entry.client_id, entry]));
    for (const [client_id, row] of this.#pending) {
      if (!shown.has(client_id)) row.remove(), this.#pending.delete(client_id);
    }
    for (const entry of entries) this.#wait(entry, online);
    this.#grown();
  }

  follow() {
    this.#following = true;
    this.#toEnd();
  }

  #all(selector) {
    return [...this.node.querySelectorAll(selector)];
  }

  #messageRow(message) {
    const author = { customer: this.name, agent: "AI", staff: message.author || "Staff", system: "Automatic" }[message.role];
    const row = this.#row(message.role, author, message.created_at, message.text);
    row.id = `message-${message.seq}`;
    row.dataset.seq = message.seq;
    if (message.stopped) row.querySelector(".remark").textContent = " · stopped by the customer";
    if (message.citations?.length) row.append(sources(message.citations));
    if (message.attachments?.length) row.append(files(message.attachments));
    return row;
  }

  /** As the server makes it; a note is shown as it was typed. */
  #row(role, author, at, text) {
    const row = template.content.firstElementChild.cloneNode(true);
    const moment = row.querySelector("time");
    const body = row.querySelector(".text");
    row.className = `message ${role} new`;
    row.querySelector(".author").textContent = role === "note" ? `${author}, private note` : author;
    moment.dateTime = at;
    moment.textContent = time.format(new Date(at));
    if (role === "note") body.textContent = text;
    else body.replaceChildren(rendered(text));
    return row;
  }

  #append(row, at) {
    document.getElementById("no-message")?.remove();
    const before = this.#all("time").at(-1);
    const day = new Date(at).toDateString();
    if (!before || new Date(before.dateTime).toDateString() !== day) this.node.append(element("p", { class: "day" }, dayName.format(new Date(at))));
    this.node.append(row);
    this.#grown();
  }

  #wait(entry, online) {
    const row = this.#pending.get(entry.client_id) ?? this.#pendingRow(entry);
    this.#pending.set(entry.client_id, row);
    row.querySelector(".remark").textContent = entry.failed ? "" : online ? " · sending…" : " · waiting to be sent";
    row.querySelector(".failed").hidden = !entry.failed;
    row.querySelector(".failed span").textContent = `Not sent. ${entry.failed ?? ""}`;
    row.classList.toggle("refused", Boolean(entry.failed));
  }

  #pendingRow(entry) {
    const row = this.#row(entry.kind === "note" ? "note" : "staff", "You", new Date(entry.at).toISOString(), entry.text);
    const again = element("button", { type: "button", class: "plain", onclick: () => this.outgoing.retry(entry) }, "Send again");
    const away = element("button", { type: "button", class: "plain", onclick: () => this.outgoing.done(entry.client_id) }, "Delete");
    row.classList.add("pending");
    row.append(element("p", { class: "failed", role: "alert", hidden: true }, element("span"), again, away));
    this.pending.append(row);
    return row;
  }

  #scrolled() {
    this.#following = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_PX;
    if (this.#following) this.jump.hidden = true;
  }

  #grown() {
    if (this.#following) this.#toEnd();
    else this.jump.hidden = false;
  }

  #toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    this.jump.hidden = true;
  }
}

function sources(citations) {
  const links = citations.map((citation) => element("li", {}, citationLink(citation, `${citation.n}. ${citation.title}`)));
  return element("ul", { class: "sources", "aria-label": "Sources" }, ...links);
}

function files(attachments) {
  const links = attachments.map(({ name, url, size }) =>
    element("li", {}, element("a", { href: url, download: true }, name), ` (${Math.ceil(size / 1024)} KB)`),
  );
  return element("ul", { class: "sources", "aria-label": "Files" }, ...links);
}
