// The third column: the session's time counts down, and can be extended or ended. Its parts are the server's.
import { recall, remember } from "../widget/memory.js";
import { ask } from "./ask.js";
import { post } from "./api.js";
import { fetchPage, swap } from "./page.js";

const OPEN = "supportdesk.desk.details";
const EXTEND_S = 30 * 60;
const WIDE = matchMedia("(min-width: 1181px)");

export class Details {
  constructor(say) {
    this.say = say;
    this.node = document.getElementById("details");
    this.parts = document.getElementById("details-parts");
    this.columns = document.getElementById("desk");
    document.getElementById("details-close").addEventListener("click", () => this.show(false, true));
    this.node.addEventListener("click", ({ target }) => this.#clicked(target.closest("[data-act]")));
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && this.#escaped(event));
    // Beside the thread on a wide window; over it on a narrow one, where it would hide what is being written.
    WIDE.addEventListener("change", () => this.show(Boolean(this.toggle) && WIDE.matches && recall(OPEN) !== "closed"));
    setInterval(() => this.#count(), 1000);
  }

  /** For another chat, whose parts are there: shown as it was left, on a wide screen; over the thread only when asked. */
  opened() {
    this.toggle = document.getElementById("details-toggle");
    this.toggle?.addEventListener("click", () => this.show(this.node.hidden, true));
    this.#arrived();
    this.show(Boolean(this.toggle) && WIDE.matches && recall(OPEN) !== "closed");
  }

  show(open, byHand = false) {
    this.node.hidden = !open;
    this.columns.classList.toggle("with-details", open);
    this.toggle?.setAttribute("aria-expanded", String(open));
    if (!byHand) return;
    if (WIDE.matches) remember(OPEN, open ? "open" : "closed");
    if (open) document.getElementById("details-close").focus();
    else this.toggle?.focus();
  }

  /** What may have changed on the server: state, audit, time left. */
  async refresh(url) {
    const page = await fetchPage(url, { part: "chat" });
    if (url !== location.pathname + location.search) return page; // another chat meanwhile
    swap(this.parts, page.getElementById("details-parts"));
    this.#arrived();
    return page;
  }

  /** The buttons work only with this script, so it is what shows them; and the time runs from now. */
  #arrived() {
    for (const acts of this.parts.querySelectorAll(".acts")) acts.hidden = false;
    const left = document.getElementById("time-left");
    this.until = left ? performance.now() + Number(left.dataset.seconds) * 1000 : null;
    this.#count();
  }

  #count() {
    const left = document.getElementById("time-left");
    if (left && this.until) left.textContent = clock(Math.max(0, (this.until - performance.now()) / 1000));
  }

  #escaped(event) {
    event.preventDefault();
    this.show(false, true);
  }

  async #clicked(button) {
    if (!button) return;
    if (button.dataset.act === "forget") {
      await this.#forget(button.dataset.fact);
      return;
    }
    const session = encodeURIComponent(button.dataset.session);
    if (button.dataset.act === "extend") await this.#extend(session);
    else await this.#expire(session);
  }

  async #extend(session) {
    const done = await this.#do(`/api/v1/sessions/${session}/extend/`, { seconds: EXTEND_S });
    if (done) this.say("The session lives half an hour longer.");
  }

  async #expire(session) {
    const sure = await ask({
      title: "Expire this session?",
      text: "The chat ends for the customer at once, on every page they have open. It can still be read here.",
      yes: "Expire",
    });
    if (sure && (await this.#do(`/api/v1/sessions/${session}/`, null, "DELETE"))) this.say("The session has been expired.");
  }

  /** Not asked twice: it is a line that the agent noted, and the customer's own words stay in the chat. */
  async #forget(fact) {
    const thread = location.pathname.split("/").filter(Boolean).pop();
    const url = `/api/v1/desk/conversations/${thread}/facts/${fact}/`;
    if (!(await this.#do(url, null, "DELETE"))) return;
    this.say("The agent has forgotten it.");
    document.getElementById("remembered-title")?.closest("section").querySelector("button, h2")?.focus();
  }

  async #do(url, body, method = "POST") {
    try {
      await post(url, body, method);
    } catch (error) {
      this.say(error.message || "The desk cannot be reached. Nothing was changed: try again.", true);
      return false;
    }
    await this.refresh(location.pathname + location.search);
    return true;
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
