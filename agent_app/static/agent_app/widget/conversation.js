// The chat as this tab knows it: what is in the log, what waits to be sent, who answers, whether the desk is there.
// Emits "change" when anything of it moved, and "arrived" with a message that is new while the customer is here.
import { Refused, Unreachable } from "./api.js";
import { Connection } from "./connection.js";
import { newClientId } from "./outbox.js";
import { Turn } from "./turn.js";

const ACK_MS = 15_000; // an acknowledgement that takes longer is looked for over a new socket
const PASSING = new Set(["rate_limited", "unavailable", "internal"]); // worth another try by ourselves
const PAUSE_S = 5; // before that try, when the desk names no time

export class Conversation extends EventTarget {
  constructor(sessions, outbox, socketUrl) {
    super();
    this.sessions = sessions;
    this.outbox = outbox;
    this.socketUrl = socketUrl;
    this.maxText = 8000;
    this.maxFileMb = 10;
    this.#reset();
    sessions.onOtherTab((session) => this.#follow(session));
  }

  #reset() {
    this.connection?.end();
    clearTimeout(this.ackTimer);
    this.connection = null;
    this.session = null;
    this.messages = [];
    this.lastSeq = 0;
    this.target = 0; // the log's length at the last welcome: until it is reached we are catching up
    this.entries = []; // this tab's view of the outbox
    this.inFlight = new Map(); // client_id: on which socket it was sent, counted by `welcomes`
    this.acked = new Set(); // client_ids that are safe, though the message itself has not come yet
    this.state = "ai";
    this.who = null;
    this.position = null;
    this.ticket = null;
    this.turn = null;
    this.typing = false;
    this.link = "idle"; // idle, connecting, open, lost, refused
    this.refusal = null;
    this.caughtUp = false;
  }

  async start() {
    await this.outbox.open();
    this.session = this.sessions.current;
    await this.#loadOutbox();
    if (this.session) this.#connect();
    else if (this.entries.length) this.#begin(); // not awaited: it may have to wait for the desk
    this.#changed();
  }

  // ---- what the customer does --------------------------------------------------------------------------

  /** `attachments` are the objects that uploading gave. */
  send(text, attachments = []) {
    return this.#add({ kind: "send", text, ...(attachments.length && { attachments }) });
  }

  /** The session, begun if there is none yet: a file is uploaded before its message is sent. */
  async open() {
    if (!this.session) await this.#begin();
    if (!this.session) throw new Refused(0, { message: this.notBegun });
    return this.session;
  }

  /** What the customer thinks of an answer; false when that cannot be said right now. */
  judge(seq, helpful, comment) {
    return Boolean(this.connection?.send({ type: "feedback", seq, helpful, ...(comment && { comment }) }));
  }

  /** Of the whole chat: {rating, comment?}. Throws Refused or Unreachable. */
  rate(feedback) {
    return this.sessions.rate(this.session, feedback);
  }

  choose(choice) {
    return this.#add({ kind: "choice", id: choice.id, text: choice.label });
  }

  escalate() {
    return this.asking ? null : this.#add({ kind: "escalate" });
  }

  stop() {
    this.connection?.send({ type: "stop", turn: this.turn.id });
  }

  tellTyping(on) {
    if (this.state === "human") this.connection?.send({ type: "typing", on });
  }

  async retry(entry) {
    delete entry.failed;
    await this.outbox.put(entry);
    if (this.session) this.#flush();
    else this.#begin();
    this.#changed();
  }

  async discard(entry) {
    await this.#done(entry);
    this.#changed();
  }

  connectAgain() {
    this.#connect();
    this.#changed();
  }

  /** A new chat; what was written for the old one and never sent comes along. */
  async startAnew() {
    const unsent = this.unsent;
    this.sessions.forget();
    this.#reset();
    for (const entry of unsent) {
      delete entry.failed;
      delete entry.attachments; // they belong to the chat that was
      entry.session_id = null;
      await (entry.text ? this.outbox.put(entry) : this.outbox.remove(entry));
    }
    this.entries = unsent.filter((entry) => entry.text);
    this.#changed();
    if (this.entries.length) this.#begin();
  }

  /** Written and not yet in the log, as far as this tab knows. */
  get unsent() {
    return this.entries.filter((entry) => entry.kind !== "escalate" && !this.acked.has(entry.client_id));
  }

  get asking() {
    return this.entries.some((entry) => entry.kind === "escalate");
  }

  get ended() {
    return this.state === "closed" || this.refusal === 4401;
  }

  // ---- the outbox --------------------------------------------------------------------------------------

  async #add(what) {
    const entry = { client_id: newClientId(), session_id: this.session?.session_id ?? null, at: Date.now(), ...what };
    this.entries.push(entry);
    this.#changed();
    await this.outbox.put(entry);
    if (!this.session) await this.#begin();
    else this.#flush();
  }

  async #loadOutbox() {
    const known = new Set(this.entries.map((entry) => entry.client_id));
    const mine = (entry) => !entry.session_id || entry.session_id === this.session?.session_id;
    const others = (await this.outbox.all()).filter((entry) => mine(entry) && !known.has(entry.client_id));
    this.entries.push(...others);
  }

  async #done(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    await this.outbox.remove(entry);
  }

  #flush() {
    for (const entry of this.entries) this.#transmit(entry);
  }

  #transmit(entry) {
    const { client_id, kind, text, id, attachments } = entry;
    if (entry.failed || this.acked.has(client_id) || this.inFlight.get(client_id) === this.connection?.welcomes) return;
    const ids = attachments && { attachments: attachments.map((file) => file.id) };
    const what = { send: { text, ...ids }, choice: { id }, escalate: {} }[kind];
    if (!this.connection?.send({ type: kind, client_id, ...what })) return;
    this.inFlight.set(client_id, this.connection.welcomes);
    clearTimeout(this.ackTimer);
    this.ackTimer = setTimeout(() => this.#missAcks(), ACK_MS);
  }

  #missAcks() {
    const missing = this.entries.some(({ client_id }) => this.inFlight.has(client_id) && !this.acked.has(client_id));
    if (missing && this.connection?.open) this.connection.restart();
  }

  // ---- the session and its socket ----------------------------------------------------------------------

  async #begin() {
    this.link = "connecting";
    this.#changed();
    try {
      this.session = await this.sessions.begin();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.link = "idle";
      this.notBegun = error.message;
      for (const entry of this.entries) this.#fail(entry, error.message);
      return this.#changed();
    }
    for (const entry of this.entries) entry.session_id ??= this.session.session_id;
    this.caughtUp = false;
    if (!this.connection) this.#connect();
    this.dispatchEvent(new Event("begun"));
  }

  #connect() {
    this.connection?.end();
    this.inFlight.clear();
    this.link = "connecting";
    this.refusal = null;
    const { token } = this.session;
    const connection = new Connection(this.socketUrl, () => ({ type: "hello", token, last_seq: this.lastSeq }));
    connection.addEventListener("frame", ({ detail }) => this.#hear(detail));
    connection.addEventListener("lost", () => this.#lost());
    connection.addEventListener("refused", ({ detail }) => this.#refused(detail));
    this.connection = connection;
  }

  /** Another tab began a chat, or started anew: one browser has one chat. */
  #follow(session) {
    if (!session || session.session_id === this.session?.session_id) return;
    this.#reset();
    this.session = session;
    this.#loadOutbox().then(() => this.#changed());
    this.#connect();
  }

  #lost() {
    this.link = "lost";
    this.turn = null;
    this.typing = false;
    this.#changed();
  }

  #refused(code) {
    this.link = "refused";
    this.turn = null;
    if (code === 4410) this.state = "closed";
    else this.refusal = code;
    this.#changed();
  }

  // ---- frames ------------------------------------------------------------------------------------------

  #hear(frame) {
    const hearer = this.#hearers[frame.type];
    if (!hearer) return; // a later version's frame
    hearer(frame);
    this.#changed();
  }

  #hearers = {
    welcome: (frame) => this.#welcomed(frame),
    message: (frame) => this.#message(frame),
    ack: (frame) => this.#acked(frame),
    error: (frame) => this.#erred(frame),
    turn: (frame) => this.#turned(frame),
    delta: (frame) => this.turn?.id === frame.turn && this.turn.write(frame),
    state: ({ state, who, position }) => Object.assign(this, { state, who, position }),
    typing: ({ role, on }) => (this.typing = on && role === "staff"),
  };

  async #welcomed({ state, last_seq, recovered, limits }) {
    this.link = "open";
    this.state = state;
    this.maxText = limits?.max_text ?? this.maxText;
    this.maxFileMb = limits?.max_attachment_mb ?? this.maxFileMb;
    this.target = last_seq;
    this.caughtUp = recovered && this.lastSeq >= last_seq;
    if (!recovered) await this.#fetchHistory(last_seq);
    await this.#loadOutbox();
    if (this.state !== "closed") this.#flush();
    this.#changed();
  }

  /** Too much was missed for the socket: the log comes by REST, while newer messages wait in `ahead`. */
  async #fetchHistory(upto) {
    this.ahead = [];
    if (this.lastSeq > upto) this.#forgetLog(); // the desk was set back: what it has is what there is
    try {
      for await (const page of this.sessions.history(this.session, this.lastSeq, upto)) page.forEach((m) => this.#append(m));
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Refused)) throw error;
      return this.connection.restart();
    } finally {
      const ahead = this.ahead;
      this.ahead = null;
      ahead.forEach((message) => this.#message(message));
    }
    this.caughtUp = true;
  }

  #forgetLog() {
    this.messages = [];
    this.lastSeq = 0;
  }

  #message(message) {
    if (this.ahead) this.ahead.push(message);
    else if (message.seq === this.lastSeq + 1) this.#append(message);
    else if (message.seq > this.lastSeq) this.connection.restart(); // a gap: hello again, with the last seq we have
  }

  #append(message) {
    this.messages.push(message);
    this.lastSeq = message.seq;
    if (message.turn && message.turn === this.turn?.id) this.turn = null;
    if (message.role === "staff") Object.assign(this, { typing: false, who: this.who ?? message.author });
    const entry = message.role === "customer" && this.entries.find((e) => e.client_id === message.client_id);
    if (entry) this.#done(entry);
    const live = this.caughtUp;
    this.caughtUp ||= this.lastSeq >= this.target;
    this.dispatchEvent(new CustomEvent("arrived", { detail: { message, live } }));
  }

  #acked({ client_id, ticket }) {
    if (ticket) this.ticket = ticket;
    for (const entry of this.entries) {
      if (entry.kind === "escalate" ? ticket : entry.client_id === client_id) this.#acknowledge(entry);
    }
  }

  /** Safe at the desk: the bubble stays until the message itself comes. */
  #acknowledge(entry) {
    if (entry.kind === "escalate") return this.#done(entry);
    this.acked.add(entry.client_id);
    return this.outbox.remove(entry);
  }

  #erred({ code, message, retry_after, client_id }) {
    if (code === "closed") this.state = "closed";
    const entry = client_id && this.entries.find((other) => other.client_id === client_id);
    if (!entry || code === "closed") return;
    this.inFlight.delete(client_id);
    if (PASSING.has(code)) setTimeout(() => this.#transmit(entry), (retry_after ?? PAUSE_S) * 1000);
    else if (code === "unknown_type" && entry.kind === "choice") this.#sayInWords(entry);
    else this.#fail(entry, message);
  }

  /** A desk that takes no choices yet takes their words. */
  #sayInWords(entry) {
    entry.kind = "send";
    this.#transmit(entry);
  }

  /** A wish for a person has no bubble to say so: its button simply comes back. */
  #fail(entry, message) {
    if (entry.kind === "escalate") return this.#done(entry);
    entry.failed = message;
    return this.outbox.put(entry);
  }

  #turned({ turn, status, tool }) {
    if (status === "ended") {
      if (this.turn?.id === turn) this.turn = null;
      return;
    }
    if (this.turn?.id !== turn) this.turn = new Turn(turn);
    this.turn.tool = status === "tool" ? tool : null;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
