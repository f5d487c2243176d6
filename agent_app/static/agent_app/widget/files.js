// Files: uploaded while the message is still being written, shown in its bubble, opened again with the token.
import { Refused, Unreachable } from "./api.js";
import { element, icon, PATHS } from "./element.js";
import { forget, recall, remember } from "./memory.js";
import { locale, strings } from "./strings.js";

const DRAFT = "supportdesk.files";
const MOST = 5; // a message
const TAKEN = ".txt,.md,.csv,.pdf,.docx,.html,image/png,image/jpeg,image/gif,image/webp";
const OURS = "/api/v1/chat/sessions/"; // links to files begin so

const unit = (value, name) => new Intl.NumberFormat(locale, { style: "unit", unit: name, maximumFractionDigits: 1 }).format(value);

export function sized(bytes) {
  return bytes < 1e6 ? unit(Math.max(1, Math.round(bytes / 1e3)), "kilobyte") : unit(bytes / 1e6, "megabyte");
}

/** The files of a message, or nothing. Their links are followed by `opener`. */
export function fileList(attachments) {
  if (!attachments?.length) return null;
  const items = attachments.map(({ name, size, url }) =>
    element("li", {}, element("a", { class: "file", href: url, download: name }, icon(PATHS.page), element("span", { dir: "auto" }, name), element("small", {}, sized(size)))),
  );
  return element("ul", { class: "files", "aria-label": strings.files }, ...items);
}

/** Follows links to files: an address holds no token, so that a plain link could open nothing. */
export function opener(chat) {
  return async (event) => {
    const link = event.target.closest?.(`a[href^="${OURS}"]`);
    if (!link) return;
    event.preventDefault();
    try {
      const blob = await chat.sessions.file(chat.session, link.getAttribute("href"));
      const name = link.download || link.title || strings.files;
      const saved = element("a", { href: URL.createObjectURL(blob), download: name });
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), 60_000);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      link.setAttribute("title", error.message || strings.fileNotOpened);
      link.classList.add("gone");
    }
  };
}

/** What will go with the next message: the button, the chips, and whatever is dropped or pasted. */
export class Files extends EventTarget {
  #items = [];

  constructor(chat) {
    super();
    this.chat = chat;
    this.input = element("input", { type: "file", multiple: true, hidden: true, accept: TAKEN, onchange: () => this.#picked() });
    this.button = element(
      "button",
      { type: "button", class: "attach", "aria-label": strings.attach, title: strings.attach, onclick: () => this.input.click() },
      icon(PATHS.clip),
    );
    this.list = element("ul", { class: "uploads", "aria-label": strings.files, hidden: true });
    this.said = element("p", { class: "unseen", role: "status" });
    this.problem = element("p", { class: "problem", role: "alert" });
    this.#restore();
  }

  get busy() {
    return this.#items.some((item) => item.state === "uploading");
  }

  get ready() {
    return this.#items.filter((item) => item.attachment).map((item) => item.attachment);
  }

  /** The uploaded files, which now belong to a message. */
  take() {
    const taken = this.ready;
    this.#items = this.#items.filter((item) => !item.attachment);
    this.#changed();
    return taken;
  }

  add(files) {
    this.problem.textContent = "";
    for (const file of files) {
      if (this.#items.length >= MOST) {
        this.problem.textContent = strings.tooManyFiles(MOST);
        break;
      }
      const item = { file, name: file.name, size: file.size };
      this.#items.push(item);
      if (file.size > this.chat.maxFileMb * 2 ** 20) this.#fail(item, strings.fileTooLarge(this.chat.maxFileMb), false);
      else this.#upload(item);
    }
    this.#changed();
  }

  #picked() {
    this.add(this.input.files);
    this.input.value = ""; // the same file may be picked again
  }

  async #upload(item) {
    Object.assign(item, { state: "uploading", error: null, progress: 0 });
    this.#changed();
    try {
      const session = await this.chat.open();
      if (item.removed) return;
      item.attachment = await this.chat.sessions.upload(session, item.file, (share) => this.#progressed(item, share), item);
      item.session = session.session_id;
      item.state = "done";
      this.said.textContent = strings.uploaded(item.name);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      this.#fail(item, error.message || strings.notUploaded, !(error instanceof Refused) || error.passes);
    }
    if (item.removed) this.#withdraw(item);
    this.#changed();
  }

  #fail(item, error, again) {
    Object.assign(item, { state: "failed", error, again });
  }

  #progressed(item, share) {
    item.progress = share;
    if (item.bar) item.bar.value = share;
  }

  #remove(item) {
    item.removed = true;
    item.request?.abort();
    this.#items = this.#items.filter((other) => other !== item);
    this.problem.textContent = "";
    if (item.attachment) this.#withdraw(item);
    this.#changed();
    this.button.focus();
  }

  /** Nobody needs to know if this fails: what no message holds goes with the chat. */
  #withdraw(item) {
    if (!item.attachment) return;
    this.chat.sessions.withdraw(this.chat.session, item.attachment).catch((error) => {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    });
  }

  // ---- a reload keeps what was uploaded ----

  #restore() {
    const kept = JSON.parse(recall(DRAFT)) ?? [];
    this.#items = kept.map(({ attachment, session }) => ({ ...attachment, attachment, session, state: "done" }));
    this.#render();
  }

  /** Files belong to one chat: in another one they would be refused. */
  keepOnly(sessionId) {
    if (!this.#items.some((item) => item.session && item.session !== sessionId)) return;
    this.#items = this.#items.filter((item) => !item.session || item.session === sessionId);
    this.#changed();
  }

  #changed() {
    const kept = this.#items.filter((item) => item.attachment).map(({ attachment, session }) => ({ attachment, session }));
    if (kept.length) remember(DRAFT, JSON.stringify(kept));
    else forget(DRAFT);
    this.#render();
    this.dispatchEvent(new Event("change"));
  }

  #render() {
    this.list.hidden = !this.#items.length;
    this.list.replaceChildren(...this.#items.map((item) => this.#chip(item)));
  }

  #chip(item) {
    item.bar = item.state === "uploading" ? element("progress", { max: "1", value: item.progress, "aria-label": strings.uploading(item.name) }) : null;
    const again = item.again && element("button", { type: "button", class: "link", onclick: () => this.#upload(item) }, strings.retry);
    return element(
      "li",
      { class: item.state },
      icon(PATHS.page),
      element("span", { class: "name", dir: "auto" }, item.name),
      item.bar ?? element("small", {}, item.error ?? sized(item.size)),
      again || null,
      element(
        "button",
        { type: "button", class: "away", "aria-label": strings.removeFile(item.name), onclick: () => this.#remove(item) },
        icon(PATHS.close),
      ),
    );
  }
}
