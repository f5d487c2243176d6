// Where the customer writes. What is typed is kept until it is sent: a reload brings it back.
import { element, icon, PATHS } from "./element.js";
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
    this.node = element("form", { class: "composer" }, this.text, this.button);
    this.node.addEventListener("submit", (event) => this.#submit(event));
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
  }

  render() {
    // Characters as the desk counts them: code points.
    const length = [...this.text.value].length;
    const { maxText } = this.chat;
    this.length.textContent = length > maxText * TELL_FROM ? strings.tooLong(length, maxText) : "";
    this.button.disabled = !this.text.value.trim() || length > maxText;
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

  #typed() {
    remember(DRAFT, this.text.value);
    this.#tell(true);
    this.render();
  }

  #submit(event) {
    event.preventDefault();
    if (this.button.disabled) return;
    this.chat.send(this.text.value.trim());
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
