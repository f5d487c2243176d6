// How it was, once the chat has ended: one to five, then a word if the customer likes. It can be changed.
import { Refused, Unreachable } from "./api.js";
import { element, icon, PATHS } from "./element.js";
import { recall, remember } from "./memory.js";
import { strings } from "./strings.js";

const RATED = "supportdesk.rated";
const MOST = 5;

export class Rating {
  constructor(chat) {
    this.chat = chat;
    this.stars = Array.from({ length: MOST }, (_, index) => this.#star(index + 1));
    this.group = element("fieldset", { class: "stars" }, element("legend", {}, strings.rate), ...this.stars.map(({ node }) => node));
    this.text = element("input", { type: "text", maxlength: "1000", "aria-label": strings.rateWhy, placeholder: strings.rateWhy });
    this.words = element("form", { class: "line", hidden: true }, this.text, element("button", { type: "submit", class: "pill" }, strings.send));
    this.thanks = element("p", { class: "thanks", role: "status" });
    this.node = element("div", { class: "rating" }, this.group, this.words, this.thanks);
    this.words.addEventListener("submit", (event) => this.#commented(event));
  }

  /** For the chat that is shown; one in which nothing was said is not asked about. */
  render() {
    const { session, messages, refusal } = this.chat;
    this.node.hidden = !session || !messages.length || refusal !== null;
    if (this.shown === session?.session_id) return;
    this.shown = session?.session_id;
    const [id, rating] = JSON.parse(recall(RATED)) ?? [];
    this.#fill(id === this.shown ? rating : 0);
    this.words.hidden = true;
    this.thanks.textContent = "";
  }

  #star(rating) {
    const input = element("input", { type: "radio", name: "rating", value: rating, class: "unseen", onchange: () => this.#rate(rating) });
    const node = element("label", { class: "star", title: strings.stars(rating) }, input, icon(PATHS.star), element("span", { class: "unseen" }, strings.stars(rating)));
    return { node, input };
  }

  #fill(rating) {
    this.rating = rating;
    this.stars.forEach(({ node, input }, index) => {
      node.classList.toggle("full", index < rating);
      input.checked = index + 1 === rating;
    });
  }

  async #rate(rating) {
    this.#fill(rating);
    if (!(await this.#tell({ rating }))) return;
    remember(RATED, JSON.stringify([this.shown, rating]));
    this.words.hidden = false;
  }

  async #commented(event) {
    event.preventDefault();
    const comment = this.text.value.trim();
    if (comment && !(await this.#tell({ rating: this.rating, comment }))) return;
    this.text.value = "";
    this.words.hidden = true;
    this.stars[this.rating - 1].input.focus();
  }

  async #tell(feedback) {
    try {
      await this.chat.rate(feedback);
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Refused)) throw error;
      this.thanks.textContent = error.message || strings.notRated;
      return false;
    }
    this.thanks.textContent = strings.thanksForWord;
    return true;
  }
}
