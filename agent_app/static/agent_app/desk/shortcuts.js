// Keys that work anywhere but in a text field. WCAG 2.1.4 wants single keys to have a switch: it is in the `?` list.
import { recall, remember } from "../widget/memory.js";

const OFF = "supportdesk.desk.keys";

export class Shortcuts {
  /** `acts`: what each key does, as {j: () => …}. */
  constructor(acts) {
    this.acts = acts;
    this.list = document.getElementById("shortcuts");
    this.on = document.getElementById("keys-on");
    this.on.checked = recall(OFF) !== "off";
    this.on.addEventListener("change", () => remember(OFF, this.on.checked ? "on" : "off"));
    document.getElementById("help").addEventListener("click", () => this.show());
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  show() {
    this.list.showModal();
  }

  #pressed(event) {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return this.#leave(event.target);
    if (!this.on.checked || typesInto(event.target)) return;
    const act = event.key === "?" ? () => this.show() : this.acts[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault(); // the key itself must not be typed into the field that gets the focus
    act();
  }

  /** Out of the text field, so that the keys work again. */
  #leave(target) {
    if (typesInto(target)) document.getElementById("content").focus();
    else this.acts.escape();
  }
}

function typesInto(target) {
  return target.matches("input:not([type=checkbox]), textarea, select, [contenteditable]");
}
