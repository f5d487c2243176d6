// Which chat this browser has: id and token, kept for reloads and shared by all tabs.
import { Refused, Unreachable, call } from "./api.js";
import { Backoff, pause } from "./backoff.js";
import { forget, onOtherTab, recall, remember } from "./memory.js";

const KEY = "supportdesk.session";

export class Sessions {
  constructor(api) {
    this.api = api;
    this.identity = {};
  }

  /** A chat of its own for each customer that the page proves: who logs in does not go on as an unknown visitor. */
  get #key() {
    return this.identity.identity ? `${KEY}.${this.identity.user_id}` : KEY;
  }

  /** `{session_id, token}` or null. */
  get current() {
    return JSON.parse(recall(this.#key));
  }

  forget() {
    forget(this.#key);
  }

  /** The chat there is, or a new one. Tries until the desk can be reached; Refused when it says no. */
  async begin() {
    // Two tabs that both send their first message shall not open two chats. Locks exist on https and localhost.
    const beginning = () => (navigator.locks ? navigator.locks.request(this.#key, () => this.#begin()) : this.#begin());
    this.beginning ??= beginning().finally(() => (this.beginning = null));
    return this.beginning;
  }

  async #begin() {
    if (this.current) return this.current;
    const backoff = new Backoff();
    for (;;) {
      try {
        const { session_id, token } = await call("POST", this.api, { body: this.identity });
        remember(this.#key, JSON.stringify({ session_id, token }));
        return { session_id, token };
      } catch (error) {
        if (!(error instanceof Unreachable || (error instanceof Refused && error.passes))) throw error;
        await pause(Math.max((error.retryAfter ?? 0) * 1000, backoff.next()));
      }
    }
  }

  /** What the customer thinks of the chat; also once it has ended. */
  async rate(session, feedback) {
    await call("POST", `${this.api}${session.session_id}/feedback/`, { token: session.token, body: feedback });
  }

  /** Pages of the history after `seq`, up to `upto`. */
  async *history(session, after, upto) {
    while (after < upto) {
      const url = `${this.api}${session.session_id}/messages/?after=${after}&limit=50`;
      const { results, has_more } = await call("GET", url, { token: session.token });
      yield results;
      if (!results.length || !has_more) return;
      after = results.at(-1).seq;
    }
  }

  /** Uploads one file; `progressed(share)`. `into.request` can be aborted. The attachment object, or Refused. */
  upload({ session_id, token }, file, progressed, into) {
    // fetch tells no progress. The desk looks at the token alone, whatever cookies travel along.
    const request = (into.request = new XMLHttpRequest());
    const form = new FormData();
    form.append("file", file, file.name);
    request.open("POST", `${this.api}${session_id}/attachments/`);
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => progressed(total ? loaded / total : 0);
    return new Promise((resolve, reject) => {
      request.onload = () =>
        request.status === 201 ? resolve(request.response) : reject(new Refused(request.status, request.response ?? {}));
      request.onerror = request.onabort = () => reject(new Unreachable());
      request.send(form);
    });
  }

  async withdraw({ token }, { url }) {
    await call("DELETE", url, { token });
  }

  async file({ token }, url) {
    return call("GET", url, { token, as: "blob" });
  }

  onOtherTab(heard) {
    onOtherTab(this.#key, (value) => heard(JSON.parse(value)));
  }
}
