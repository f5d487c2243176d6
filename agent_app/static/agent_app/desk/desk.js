// The desk as this tab knows it: its socket, who is there, what may be done, what is on its way.
// Emits "link" and "standing" when these moved, "welcome", and each frame of the list and of a chat as "inbox", "chat".
import { Connection } from "../widget/connection.js";

const ACT_MS = 10_000; // for an act to be answered

export class NotDone extends Error {}

export class Desk extends EventTarget {
  link = "connecting"; // connecting, open, lost, refused
  you = null;
  may = new Set();
  staff = [];
  online = true;
  maxText = 8000;
  #acts = []; // {type, conversation, resolve, reject}: asked and not yet answered
  #asked = new Map(); // of the one conversation that is shown: what to subscribe with after each welcome
  #canned = [];

  constructor(socketUrl, outgoing) {
    super();
    this.socketUrl = socketUrl;
    this.outgoing = outgoing;
  }

  async start() {
    await this.outgoing.open();
    this.connection = new Connection(this.socketUrl, () => ({ type: "hello" }));
    this.connection.addEventListener("frame", ({ detail }) => this.#hear(detail));
    this.connection.addEventListener("lost", () => this.#moved("lost"));
    this.connection.addEventListener("refused", ({ detail }) => this.#refused(detail));
  }

  allows(act) {
    return this.may.has(act);
  }

  isMe(person) {
    return Boolean(person) && person.id === this.you?.id;
  }

  // ---- asking ------------------------------------------------------------------------------------------

  /** Resolves with the desk's acknowledgement; NotDone says why not, with `who` has the chat where that is the reason. */
  act(type, conversation, more = {}) {
    return new Promise((resolve, reject) => {
      if (!this.connection?.send({ type, conversation, ...more })) {
        return reject(new NotDone("The desk cannot be reached. Nothing was changed: try again in a moment."));
      }
      const timer = setTimeout(() => this.connection.restart(), ACT_MS);
      this.#acts.push({ type, conversation, resolve, reject, timer });
      return undefined;
    });
  }

  /** From now on this conversation's frames come, after each reconnect from where `place()` says one is. */
  follow(conversation, place) {
    this.#asked.set(conversation, place);
    this.#subscribe(conversation);
  }

  leave(conversation) {
    this.#asked.delete(conversation);
    this.connection?.send({ type: "unsubscribe", conversation });
  }

  /** Also those whose states change by messages alone. */
  watch(states) {
    this.states = states;
    this.connection?.send({ type: "watch", states });
  }

  tellTyping(conversation, on) {
    this.connection?.send({ type: "typing", conversation, on });
  }

  beHere(online) {
    this.connection?.send({ type: "presence", online });
  }

  canned() {
    return new Promise((resolve, reject) => {
      if (this.connection?.send({ type: "canned" })) this.#canned.push(resolve);
      else reject(new NotDone("The desk cannot be reached. Close this and try again."));
    });
  }

  // ---- hearing -----------------------------------------------------------------------------------------

  #hear(frame) {
    this.#hearers[frame.type]?.(frame);
    if (frame.conversation && this.#asked.has(frame.conversation)) this.#tell("chat", frame);
  }

  #hearers = {
    welcome: (frame) => this.#welcomed(frame),
    inbox: (frame) => this.#tell("inbox", frame),
    ack: (frame) => this.#acked(frame),
    error: (frame) => this.#erred(frame),
    staff: ({ people }) => this.#stand({ staff: people }),
    canned: ({ replies }) => this.#canned.splice(0).forEach((resolve) => resolve(replies)),
    message: ({ role, client_id }) => role === "staff" && this.outgoing.done(client_id),
    note: ({ client_id }) => this.outgoing.done(client_id),
  };

  #welcomed(frame) {
    this.maxText = frame.limits?.max_text ?? this.maxText;
    this.#stand({ you: frame.you, may: new Set(frame.may), staff: frame.staff, online: frame.online });
    this.#moved("open");
    if (this.states) this.watch(this.states);
    for (const conversation of this.#asked.keys()) this.#subscribe(conversation);
    this.outgoing.flush(this.connection);
    this.#tell("welcome", frame);
  }

  #subscribe(conversation) {
    this.connection?.send({ type: "subscribe", conversation, ...this.#asked.get(conversation)() });
  }

  #acked(frame) {
    if (frame.client_id) this.outgoing.acked(frame);
    if ("online" in frame) this.#stand({ online: frame.online });
    const done = this.#acts.findIndex((act) => act.type === frame.action && act.conversation === frame.conversation);
    if (done >= 0) this.#settle(done).resolve(frame);
  }

  #erred(frame) {
    if (this.outgoing.refused(frame)) return;
    const error = Object.assign(new NotDone(frame.message), { code: frame.code, who: frame.who });
    const about = this.#acts.findIndex((act) => act.conversation === frame.conversation);
    if (about >= 0) this.#settle(about).reject(error);
    else if (this.#canned.length) this.#canned.splice(0).forEach((resolve) => resolve([]));
    if (frame.code === "not_found") this.#asked.delete(frame.conversation);
  }

  #settle(index) {
    const [act] = this.#acts.splice(index, 1);
    clearTimeout(act.timer);
    return act;
  }

  #refused(code) {
    // Logged out, or no longer allowed: the server's own page says so, and asks to log in.
    if (code === 4401 || code === 4403) return location.reload();
    return this.#moved("refused");
  }

  #moved(link) {
    this.link = link;
    if (link !== "open") {
      const lost = new NotDone("The connection was lost before an answer came. Look whether it was done.");
      while (this.#acts.length) this.#settle(0).reject(lost);
      this.#canned.splice(0).forEach((resolve) => resolve([]));
    }
    this.dispatchEvent(new Event("link"));
  }

  #stand(what) {
    Object.assign(this, what);
    this.dispatchEvent(new Event("standing"));
  }

  #tell(type, frame) {
    this.dispatchEvent(new CustomEvent(type, { detail: frame }));
  }
}
