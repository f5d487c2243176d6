// One socket to /ws/chat/, opened again whenever it is lost. Knows hello, welcome, ping and close codes, not chat.
import { Backoff } from "./backoff.js";

const SILENCE_MS = 10_000; // after a ping, without any frame, the network is gone though nobody said so

export class Connection extends EventTarget {
  #socket = null;
  #backoff = new Backoff();
  #retry = null;
  #pulse = null;
  #comeBackAt = 0;
  #ended = false;
  welcomes = 0; // counts sockets that worked, so that each unacknowledged frame goes once over each

  /** `hello()` gives the first frame; events: frame, lost, refused (with the close code). */
  constructor(url, hello) {
    super();
    this.url = url;
    this.hello = hello;
    this.online = () => this.#socket || this.#connect();
    window.addEventListener("online", this.online);
    this.#connect();
  }

  get open() {
    return this.welcomed && this.#socket?.readyState === WebSocket.OPEN;
  }

  /** False when there is no welcomed socket; the caller keeps what it wanted to say. */
  send(frame) {
    if (this.open) this.#socket.send(JSON.stringify(frame));
    return this.open;
  }

  end() {
    this.#ended = true;
    window.removeEventListener("online", this.online);
    clearTimeout(this.#retry);
    this.#drop();
  }

  /** Hangs up and comes back: for a gap in the numbers, or an acknowledgement that does not come. */
  restart() {
    this.#drop();
    this.#lost();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.welcomed = false;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify(this.hello()));
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.#closed(code);
  }

  #hear(frame) {
    this.#expectPing();
    if (frame.type === "welcome") {
      this.welcomed = true;
      this.welcomes += 1;
      this.pingInterval = frame.ping_interval * 1000;
      this.#backoff.reset();
      this.#expectPing();
    } else if (frame.type === "reconnect") {
      this.#comeBackAt = performance.now() + frame.after_ms;
      this.#retry = setTimeout(() => this.restart(), frame.after_ms);
    }
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #expectPing() {
    clearTimeout(this.#pulse);
    if (!this.pingInterval) return;
    this.#pulse = setTimeout(() => {
      this.send({ type: "ping" });
      this.#pulse = setTimeout(() => this.restart(), SILENCE_MS);
    }, this.pingInterval);
  }

  #closed(code) {
    this.#drop();
    if (code >= 4400 && code < 4500) {
      this.end();
      this.dispatchEvent(new CustomEvent("refused", { detail: code }));
    } else {
      this.#lost();
    }
  }

  #lost() {
    if (this.#ended) return;
    const wait = Math.max(this.#backoff.next(), this.#comeBackAt - performance.now());
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.dispatchEvent(new Event("lost"));
  }

  #drop() {
    clearTimeout(this.#pulse);
    clearTimeout(this.#retry);
    this.welcomed = false;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
    this.#socket = null;
  }
}
