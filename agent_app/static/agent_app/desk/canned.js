// The picker of canned replies: type to narrow, arrows to move, Enter to take. A combobox as ARIA describes it.
import { element } from "../widget/element.js";

export class Canned {
  #chosen = 0;

  /** `load()` gives [{title, text}]; the picked text goes to `open`'s caller. */
  constructor(load) {
    this.load = load;
    this.dialog = document.getElementById("canned");
    this.words = document.getElementById("canned-words");
    this.list = document.getElementById("canned-list");
    this.none = document.getElementById("canned-none");
    this.words.addEventListener("input", () => this.#narrow());
    this.words.addEventListener("keydown", (event) => this.#pressed(event));
    this.list.addEventListener("click", ({ target }) => this.#clicked(target));
    this.dialog.addEventListener("close", () => this.#closed());
  }

  async open(take, back) {
    if (this.dialog.open) return;
    Object.assign(this, { take, back, taken: null, replies: [] });
    this.words.value = "";
    this.#draw("Loading…");
    this.dialog.showModal();
    try {
      this.replies = await this.load();
    } catch (error) {
      return this.#draw(error.message || "The desk cannot be reached. Close this and try again.");
    }
    this.#narrow();
  }

  #narrow() {
    const words = this.words.value.toLowerCase();
    this.found = this.replies.filter(({ title, text }) => `${title} ${text}`.toLowerCase().includes(words));
    this.#chosen = 0;
    const none = this.replies.length ? "None has these words." : "There are none yet: an administrator adds them in the admin.";
    this.#draw(this.found.length ? "" : none);
  }

  #draw(none) {
    this.none.textContent = none;
    const rows = none ? [] : this.found.map((reply, index) => option(reply, index, index === this.#chosen));
    this.list.replaceChildren(...rows);
    this.list.hidden = !rows.length;
    this.#point();
  }

  #point() {
    const rows = [...this.list.children];
    rows.forEach((row, index) => row.setAttribute("aria-selected", String(index === this.#chosen)));
    const row = rows[this.#chosen];
    if (row) this.words.setAttribute("aria-activedescendant", row.id);
    else this.words.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }

  #pressed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.found?.length) {
      event.preventDefault();
      this.#chosen = (this.#chosen + step + this.found.length) % this.found.length;
      this.#point();
    } else if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      this.#take(this.found?.[this.#chosen]?.text);
    } else if (event.key === "/" && !this.words.value) {
      event.preventDefault();
      this.#take("/"); // twice is the sign itself
    }
  }

  #clicked(target) {
    const row = target.closest("[role=option]");
    if (row) this.#take(this.found[Number(row.dataset.index)].text);
  }

  #take(text) {
    if (text === undefined) return;
    this.taken = text;
    this.dialog.close();
  }

  #closed() {
    if (this.taken === null) this.back();
    else this.take(this.taken);
  }
}

function option({ title, text }, index, chosen) {
  const attributes = { role: "option", id: `canned-${index}`, "data-index": index, "aria-selected": String(chosen) };
  return element("li", attributes, element("strong", {}, title), element("span", {}, text));
}
