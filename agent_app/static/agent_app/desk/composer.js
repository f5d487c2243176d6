// Where staff write. A reply and a note are two forms of two looks with a draft each: what is typed into one is never
// sent by the other. Drafts outlive a reload, and belong to this person and this chat.
import { forget, recall, remember } from "../widget/memory.js";

const TYPING_MS = 3000; // a pause this long is no longer typing
const TELL_FROM = 0.9; // of the longest text allowed: from here on the length is shown

export class Composer {
  /** `desk` sends; `canned` picks; `place` names user and chat, for the drafts. */
  constructor(root, { desk, canned, place }) {
    Object.assign(this, { desk, canned });
    this.node = root.querySelector("#composer");
    this.tabs = [...root.querySelectorAll("[role=tab]")];
    this.lock = root.querySelector("#locked");
    this.why = root.querySelector("#locked-why");
    this.papers = {
      reply: new Paper(root.querySelector("#reply-form"), `supportdesk.desk.reply.${place}`, desk),
      note: new Paper(root.querySelector("#note-form"), `supportdesk.desk.note.${place}`, desk),
    };
    this.mode = "reply";
    this.papers.reply.onsend = (text) => this.#send(() => desk.reply(text));
    this.papers.note.onsend = (text) => this.#send(() => desk.note(text));
    this.papers.reply.text.addEventListener("input", () => this.#tell(true));
    this.papers.reply.text.addEventListener("keydown", (event) => this.#slash(event));
    root.querySelector("#canned-open").addEventListener("click", () => this.pick());
    this.tabs.forEach((tab) => {
      tab.addEventListener("click", () => this.switchTo(modeOf(tab)).focus());
      tab.addEventListener("keydown", (event) => this.#move(event));
    });
  }

  /** The form that is shown. */
  switchTo(mode) {
    if (mode !== this.mode) this.#tell(false);
    this.mode = mode;
    for (const tab of this.tabs) {
      const shown = modeOf(tab) === mode;
      tab.setAttribute("aria-selected", String(shown));
      tab.tabIndex = shown ? 0 : -1;
      document.getElementById(modeOf(tab)).hidden = !shown;
    }
    this.render();
    return this;
  }

  focus() {
    if (this.mode === "reply" && !this.lock.hidden) this.lock.querySelector("button:not([hidden])")?.focus();
    else this.papers[this.mode].text.focus();
  }

  /** Opens the canned replies for the reply; a locked reply says why. */
  pick() {
    this.switchTo("reply");
    if (!this.lock.hidden) return this.focus();
    const { text } = this.papers.reply;
    const { selectionStart, selectionEnd } = text; // kept here: a browser may forget it while the picker has the keyboard
    return this.canned.open(
      (picked) => {
        text.focus();
        text.setRangeText(picked, selectionStart, selectionEnd, "end");
        text.dispatchEvent(new Event("input"));
      },
      () => text.focus(),
    );
  }

  /** `why` the reply is locked; empty when it is not. `note`: whether notes may be written. */
  allow({ why, takeover, note, writable }) {
    this.node.hidden = !writable;
    this.why.textContent = why;
    this.lock.hidden = !why;
    this.lock.querySelector("button").hidden = !takeover;
    this.papers.reply.form.hidden = Boolean(why);
    this.tabs[1].hidden = !note;
    if (why) this.#tell(false);
  }

  render() {
    for (const paper of Object.values(this.papers)) paper.render();
  }

  #send(send) {
    this.#tell(false);
    send();
    this.node.dispatchEvent(new Event("sent"));
  }

  /** At the start of a word: "and/or" is typed as it is. */
  #slash(event) {
    if (event.key !== "/" || event.isComposing || event.ctrlKey || event.metaKey) return;
    const { value, selectionStart } = event.target;
    if (selectionStart > 0 && !/\s/.test(value[selectionStart - 1])) return;
    event.preventDefault();
    this.pick();
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const shown = this.tabs.filter((tab) => !tab.hidden);
    if (!step || shown.length < 2) return;
    event.preventDefault();
    const next = shown[(shown.indexOf(event.target) + step + shown.length) % shown.length];
    this.switchTo(modeOf(next));
    next.focus();
  }

  #tell(on) {
    clearTimeout(this.quiet);
    if (on) this.quiet = setTimeout(() => this.#tell(false), TYPING_MS);
    if (on === (this.told ?? false)) return;
    this.told = on;
    this.desk.tellTyping(on);
  }
}

function modeOf(tab) {
  return tab.getAttribute("aria-controls");
}

/** One form: a text with its draft, its length, and Enter that sends. */
class Paper {
  constructor(form, draft, desk) {
    Object.assign(this, { form, draft, desk });
    this.text = form.querySelector("textarea");
    this.length = form.querySelector(".length");
    this.button = form.querySelector(".send");
    this.text.value = recall(draft) ?? "";
    this.text.addEventListener("input", () => this.#typed());
    this.text.addEventListener("keydown", (event) => this.#pressed(event));
    form.addEventListener("submit", (event) => this.#submit(event));
    this.render();
  }

  render() {
    const length = [...this.text.value].length; // code points, as the desk counts
    const { maxText } = this.desk;
    const long = length > maxText * TELL_FROM;
    this.length.textContent = long ? `${length.toLocaleString()} of ${maxText.toLocaleString()} characters` : "";
    this.button.disabled = !this.text.value.trim() || length > maxText;
  }

  #typed() {
    if (this.text.value) remember(this.draft, this.text.value);
    else forget(this.draft);
    this.render();
  }

  #pressed(event) {
    // 229 is how some input methods report the Enter that only ends a composition.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    if (this.button.disabled) return;
    const text = this.text.value.trim();
    this.text.value = "";
    forget(this.draft);
    this.render();
    this.onsend(text);
  }
}
