// Replies and notes on their way: kept before they are sent, sent again over every new socket until acknowledged.
import { newClientId } from "../widget/outbox.js";

const ACK_MS = 15_000; // an acknowledgement that takes longer is looked for over a new socket
const PASSING = new Set(["rate_limited", "unavailable", "internal"]); // worth another try by ourselves
const PAUSE_S = 5; // before that try, when the desk names no time
const STALE_MS = 10 * 60_000; // a reply that waited longer is sent only when its author still wants it

/** Entries are {client_id, conversation, kind: reply|note, text, at, failed?}. Emits "change". */
export class Outgoing extends EventTarget {
  entries = [];
  #sentOn = new Map(); // client_id: over which socket, counted by `welcomes`
  #acked = new Set(); // safe at the desk, though the message itself has not come yet

  constructor(outbox) {
    super();
    this.outbox = outbox;
  }

  async open() {
    await this.outbox.open();
    this.entries = await this.outbox.all();
    for (const entry of this.entries) {
      if (!entry.failed && Date.now() - entry.at > STALE_MS) this.#fail(entry, "It waited for long.");
    }
  }

  of(conversation) {
    return this.entries.filter((entry) => entry.conversation === conversation);
  }

  /** What is acknowledged stands in the log that has just been read: it is shown there. */
  settle(conversation) {
    this.entries = this.entries.filter((entry) => entry.conversation !== conversation || !this.#acked.has(entry.client_id));
  }

  async add(kind, conversation, text) {
    const entry = { client_id: newClientId(), conversation, kind, text, at: Date.now() };
    this.entries.push(entry);
    this.#changed();
    await this.outbox.put(entry);
    this.#transmit(entry);
  }

  /** Over a socket that has just been welcomed, or again over the same one. */
  flush(connection) {
    this.connection = connection;
    for (const entry of this.entries) this.#transmit(entry);
  }

  async retry(entry) {
    delete entry.failed;
    entry.at = Date.now();
    await this.outbox.put(entry);
    this.#sentOn.delete(entry.client_id);
    this.#transmit(entry);
    this.#changed();
  }

  /** Shown by the log now, or thrown away. */
  async done(client_id) {
    const entry = this.#find(client_id);
    if (!entry) return;
    this.entries = this.entries.filter((other) => other !== entry);
    this.#changed();
    await this.outbox.remove(entry);
  }

  acked({ client_id }) {
    const entry = this.#find(client_id);
    if (!entry) return;
    this.#acked.add(client_id);
    this.outbox.remove(entry);
  }

  /** True when the error was about an entry. */
  refused({ code, message, retry_after, client_id }) {
    const entry = this.#find(client_id);
    if (!entry) return false;
    this.#sentOn.delete(client_id);
    if (PASSING.has(code)) setTimeout(() => this.#transmit(entry), (retry_after ?? PAUSE_S) * 1000);
    else this.#fail(entry, message);
    this.#changed();
    return true;
  }

  #find(client_id) {
    return client_id && this.entries.find((entry) => entry.client_id === client_id);
  }

  #transmit(entry) {
    const { client_id, conversation, kind, text } = entry;
    if (entry.failed || this.#acked.has(client_id) || this.#sentOn.get(client_id) === this.connection?.welcomes) return;
    if (!this.connection?.send({ type: kind, conversation, client_id, text })) return;
    this.#sentOn.set(client_id, this.connection.welcomes);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#missAcks(), ACK_MS);
  }

  #missAcks() {
    const missing = this.entries.some(({ client_id }) => this.#sentOn.has(client_id) && !this.#acked.has(client_id));
    if (missing && this.connection.open) this.connection.restart();
  }

  #fail(entry, message) {
    entry.failed = message;
    this.outbox.put(entry);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
