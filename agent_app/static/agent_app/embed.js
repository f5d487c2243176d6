/* Supportdesk's chat for any website, in one line:
 *   <script src="https://desk.example.com/widget.js" data-title="Acme help" async></script>
 *
 * Optional: data-questions="First?|Second?", data-user-id, data-identity (a JWT that proves the user id),
 * data-lang (such as ar; else the browser's language), data-open-label, data-close-label. The element it makes has open(), close() and ask(question).
 * The chat lives in an iframe of the desk's own origin, so that neither page can style or read the other.
 */
(() => {
  "use strict";

  const script = document.currentScript;
  const page = new URL("widget/", script.src);
  const options = { ...script.dataset };
  const CHATTED = "supportdesk.chatted";
  const LABELS = /* labels */ {}; // by language; the desk writes them here
  const asked = known(options.lang);
  const language = asked ?? navigator.languages.map(known).find(Boolean) ?? "en";
  const labels = LABELS[language];
  page.searchParams.set("lang", language);

  const STYLE = `
    :host { all: initial; position: fixed; inset: auto 20px 20px auto; z-index: 2147483000;
      --accent: #1f5c46; --accent-strong: #17493a; --accent-ink: #fff; --badge: #c2371f;
      font: 600 13px/1 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
    :host(:dir(rtl)) { inset: auto auto 20px 20px; }
    [hidden] { display: none !important; }
    button { all: unset; box-sizing: border-box; position: relative; display: grid; place-items: center;
      width: 56px; height: 56px; border-radius: 50%; cursor: pointer; color: var(--accent-ink);
      background: var(--accent); box-shadow: 0 2px 6px rgb(0 0 0 / 22%), 0 8px 24px rgb(0 0 0 / 18%); }
    button:hover { background: var(--accent-strong); }
    button:focus-visible { outline: 3px solid #1863b8; outline-offset: 3px; box-shadow: 0 0 0 3px #fff; }
    svg { width: 26px; height: 26px; fill: none; stroke: currentColor; stroke-width: 2;
      stroke-linecap: round; stroke-linejoin: round; }
    button[aria-expanded="true"] .bubble, button[aria-expanded="false"] .cross { display: none; }
    .badge { position: absolute; top: -3px; right: -3px; min-width: 22px; box-sizing: border-box; padding: 5px 6px;
      border-radius: 11px; background: var(--badge); color: #fff; text-align: center; box-shadow: 0 0 0 2px #fff; }
    .panel { position: fixed; right: 20px; bottom: 88px; width: 400px; height: min(640px, calc(100dvh - 108px));
      overflow: hidden; border-radius: 18px; background: Canvas; color-scheme: light dark;
      box-shadow: 0 0 0 1px rgb(0 0 0 / 10%), 0 16px 56px rgb(0 0 0 / 26%); }
    :host(:dir(rtl)) .panel { right: auto; left: 20px; }
    iframe { display: block; width: 100%; height: 100%; border: 0; color-scheme: light dark; }
    :host(:dir(rtl)) .badge { right: auto; left: -3px; }
    @media (prefers-reduced-motion: no-preference) {
      .panel { animation: rise 160ms ease-out; }
      @keyframes rise { from { opacity: 0; transform: translateY(12px); } }
    }
    @media (max-width: 479.98px) {
      .panel, :host(:dir(rtl)) .panel { inset: 0; width: auto; height: auto; border-radius: 0; box-shadow: none; }
      button[aria-expanded="true"] { visibility: hidden; }
    }`;

  const MARKUP = `
    <div class="panel" id="panel" role="dialog" hidden></div>
    <button type="button" aria-expanded="false" aria-controls="panel">
      <svg class="bubble" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 5.500h16v11H11l-4.500 4v-4H4z"/><path d="M8 9.500h8M8 12.500h5"/></svg>
      <svg class="cross" viewBox="0 0 24 24" aria-hidden="true"><path d="m6 9 6 6 6-6"/></svg>
      <span class="badge" aria-hidden="true" hidden></span>
    </button>`;

  class SupportdeskChat extends HTMLElement {
    #panel;
    #launcher;
    #badge;
    #frame = null;
    #port = null;
    #unsaid = []; // for a frame that is still loading

    connectedCallback() {
      if (this.#panel) return;
      this.lang = language;
      if (asked) this.dir = labels.rtl ? "rtl" : "ltr"; // else the launcher stands where the site's page would have it
      const root = this.attachShadow({ mode: "open" });
      // A constructed sheet is not inline style, so that a strict policy of the site's own allows it.
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      root.innerHTML = MARKUP;
      this.#panel = root.querySelector(".panel");
      this.#launcher = root.querySelector("button");
      this.#badge = root.querySelector(".badge");
      this.#panel.setAttribute("aria-label", options.title || labels.chat);
      this.#launcher.addEventListener("click", () => (this.#panel.hidden ? this.open() : this.close()));
      root.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
      this.#label(0);
      if (chattedBefore()) this.#load(); // so that an answer that came meanwhile shows as a badge
    }

    open() {
      this.#load();
      this.#panel.hidden = false;
      this.#launcher.setAttribute("aria-expanded", "true");
      this.#label(0);
      this.#frame.focus();
      this.#say({ type: "opened" });
    }

    close() {
      if (this.#panel.hidden) return;
      this.#panel.hidden = true;
      this.#launcher.setAttribute("aria-expanded", "false");
      this.#label(0);
      this.#launcher.focus();
      this.#say({ type: "closed" });
    }

    ask(question) {
      this.open();
      this.#say({ type: "ask", question });
    }

    #load() {
      if (this.#frame) return;
      this.#frame = document.createElement("iframe");
      this.#frame.src = page;
      this.#frame.title = options.title || labels.chat;
      this.#frame.addEventListener("load", () => this.#connect());
      this.#panel.append(this.#frame);
    }

    /** A port of our own, sent to the desk's origin alone: no other frame can listen in or pretend. */
    #connect() {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => this.#hear(data);
      const { title, questions = "", userId, identity } = options;
      const hello = { type: "supportdesk", title, questions: questions.split("|").filter(Boolean), userId, identity };
      this.#frame.contentWindow.postMessage(hello, page.origin, [port2]);
      this.#port = port1;
      for (const message of this.#unsaid.splice(0)) port1.postMessage(message);
    }

    #say(message) {
      if (this.#port) this.#port.postMessage(message);
      else this.#unsaid.push(message);
    }

    #hear(message) {
      if (message.type === "close") this.close();
      else if (message.type === "unread") this.#label(message.count);
      else if (message.type === "chatted") rememberChat();
    }

    #label(unread) {
      const open = options.openLabel || (options.title ? labels.openNamed.replace("%(title)s", () => options.title) : labels.open);
      const label = this.#panel.hidden ? open : options.closeLabel || labels.close;
      const count = new Intl.NumberFormat(language);
      this.#launcher.setAttribute("aria-label", unread ? `${label} (${count.format(unread)})` : label);
      this.#badge.hidden = !unread;
      this.#badge.textContent = unread > 9 ? `${count.format(9)}+` : count.format(unread);
    }
  }

  /** The language among ours that a tag such as de-AT means, or nothing. */
  function known(tag = "") {
    const code = tag.toLowerCase();
    return [code, code.split("-")[0]].find((name) => Object.hasOwn(LABELS, name));
  }

  // A page in a sandbox may have no storage at all; then the chat loads when it is opened.
  function chattedBefore() {
    try {
      return localStorage.getItem(CHATTED) !== null;
    } catch (error) {
      if (error.name !== "SecurityError") throw error;
      return false;
    }
  }

  function rememberChat() {
    try {
      localStorage.setItem(CHATTED, "1");
    } catch (error) {
      if (error.name !== "SecurityError" && error.name !== "QuotaExceededError") throw error;
    }
  }

  function place() {
    document.body.append(document.createElement("supportdesk-chat"));
  }

  if (customElements.get("supportdesk-chat")) return; // the line stands on the page twice
  customElements.define("supportdesk-chat", SupportdeskChat);
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);
})();
