// Where the customer writes. What is typed is kept until it is sent: a reload brings it back.
import { element, icon, PATHS } from "./element.js";
import { Files } from "./files.js";
import { forget, recall, remember } from "./memory.js";
import { strings } from "./strings.js";

const DRAFT = "supportdesk.draft";
const TYPING_MS = 3000; // a pause this long is no longer typing
const TELL_FROM = 0.9; // of the longest text allowed: from here on the length is shown

export class Composer {
  constructor(chat) {
    this.chat = chat;
    this.text = element("textarea", {
      id: "message",
      rows: "1",
      placeholder: strings.placeholder,
      "aria-label": strings.messageLabel,
      "aria-describedby": "length",
      enterkeyhint: "send",
      dir: "auto",
    });
    this.text.value = recall(DRAFT) ?? "";
    this.length = element("p", { id: "length", class: "length", role: "status" });
    this.button = element("button", { type: "submit", class: "send", "aria-label": strings.send }, icon(PATHS.send));
    this.files = new Files(chat);
    this.node = element("form", { class: "composer" }, this.files.button, this.files.input, this.text, this.button);
    this.above = element("div", { class: "above" }, this.files.list, this.files.problem, this.files.said);
    this.files.addEventListener("change", () => this.render());
    this.text.addEventListener("paste", (event) => this.#pasted(event));
    this.node.addEventListener("submit", (event) => this.#submit(event));
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
  }

  render() {
    // Characters as the desk counts them: code points.
    const length = [...this.text.value].length;
    const { maxText } = this.chat;
    this.length.textContent = length > maxText * TELL_FROM ? strings.tooLong(length, maxText) : "";
    const nothing = !this.text.value.trim() && !this.files.ready.length;
    this.button.disabled = nothing || this.files.busy || length > maxText;
    if (this.chat.session) this.files.keepOnly(this.chat.session.session_id);
    this.#grow();
  }

  focus() {
    this.text.focus();
  }

  /** Browsers without field-sizing measure by hand. */
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
  }

  #pressed(event) {
    // 229 is how some input methods report the Enter that only ends a composition.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.node.requestSubmit();
  }

  /** Text that comes with a picture of itself, as from a spreadsheet, is pasted as text. */
  #pasted(event) {
    const { files, types } = event.clipboardData;
    if (!files.length || types.includes("text/plain")) return;
    event.preventDefault();
    this.files.add(files);
  }

  #typed() {
    remember(DRAFT, this.text.value);
    this.#tell(true);
    this.render();
  }

  #submit(event) {
    event.preventDefault();
    if (this.button.disabled) return;
    this.chat.send(this.text.value.trim(), this.files.take());
    this.text.value = "";
    forget(DRAFT);
    this.#tell(false);
    this.render();
    this.node.dispatchEvent(new Event("sent"));
  }

  #tell(on) {
    clearTimeout(this.quiet);
    if (on) this.quiet = setTimeout(() => this.#tell(false), TYPING_MS);
    if (on === this.told) return;
    this.told = on;
    this.chat.tellTyping(on);
  }
}
