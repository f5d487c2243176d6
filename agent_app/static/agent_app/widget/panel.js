// The chat's whole face: header, bar, thread, what can be done, composer. Draws from Conversation, decides nothing.
import { Composer } from "./composer.js";
import { element, icon, PATHS } from "./element.js";
import { opener } from "./files.js";
import { Rating } from "./rating.js";
import { strings } from "./strings.js";
import { Thread } from "./thread.js";

export class Panel {
  #due = false;

  constructor(chat, { title, questions, onclose }) {
    this.chat = chat;
    this.title = title || strings.title;
    this.thread = new Thread(chat);
    this.composer = new Composer(chat);
    this.node = element(
      "div",
      { class: "panel", tabindex: "-1" },
      this.#header(onclose),
      (this.bar = element("p", { class: "bar", role: "status" })),
      element("main", {}, this.#welcome(questions), this.#skeleton(), this.thread.node, this.thread.jump),
      (this.footer = element("footer", {}, this.#actions(), this.composer.above, this.composer.node, this.composer.length)),
      this.#ending(),
    );
    this.node.append((this.drop = element("div", { class: "drop", hidden: true, "aria-hidden": "true" }, icon(PATHS.clip), strings.dropHere)));
    this.#takeDrops();
    this.thread.node.addEventListener("click", opener(chat));
    this.composer.node.addEventListener("sent", () => this.thread.follow());
    chat.addEventListener("change", () => this.#soon());
    this.#render();
  }

  /** Where one goes on. On a touch screen that is not the composer: its keyboard would hide what there is to read. */
  focus() {
    if (this.chat.ended) this.anew.focus();
    else if (matchMedia("(pointer: coarse)").matches) this.node.focus();
    else this.composer.focus();
  }

  /** Deltas come in bursts: one drawing for all of a frame's. A hidden page draws no frames, so there at once. */
  #soon() {
    if (this.#due) return;
    this.#due = true;
    const draw = () => {
      this.#due = false;
      this.#render();
    };
    if (document.visibilityState === "visible") requestAnimationFrame(draw);
    else queueMicrotask(draw);
  }

  #takeDrops() {
    let inside = 0; // enter and leave come for every child, too
    const show = (change) => (this.drop.hidden = (inside = Math.max(0, inside + change)) === 0);
    const withFiles = (act) => (event) => {
      if (!event.dataTransfer.types.includes("Files") || this.footer.hidden) return;
      event.preventDefault();
      act(event);
    };
    this.node.addEventListener("dragenter", withFiles(() => show(1)));
    this.node.addEventListener("dragleave", withFiles(() => show(-1)));
    this.node.addEventListener("dragover", withFiles(() => {}));
    this.node.addEventListener("drop", withFiles((event) => {
      show(-inside);
      this.composer.files.add(event.dataTransfer.files);
      this.composer.focus();
    }));
  }

  #header(onclose) {
    this.avatar = element("span", { class: "avatar", "aria-hidden": "true" }, icon(PATHS.assistant));
    this.badge = element("span", { class: "badge" }, strings.aiBadge);
    this.line = element("p", { class: "line", role: "status" });
    const name = element("h1", {}, element("bdi", {}, this.title));
    const close = element("button", { type: "button", class: "icon", "aria-label": strings.close, onclick: onclose }, icon(PATHS.close));
    close.hidden = !onclose;
    return element("header", {}, this.avatar, element("div", {}, name, element("div", { class: "who" }, this.badge, this.line)), close);
  }

  #welcome(questions) {
    const ask = (question) => () => this.chat.send(question);
    const starters = (questions?.length ? questions : strings.starters).map((question) =>
      element("li", {}, element("button", { type: "button", class: "starter", dir: "auto", onclick: ask(question) }, question)),
    );
    return (this.welcome = element(
      "section",
      { class: "welcome" },
      element("h2", {}, strings.welcomeTitle),
      element("p", {}, strings.welcomeText),
      element("ul", {}, ...starters),
    ));
  }

  #skeleton() {
    const lines = ["mine", "", "", "mine", ""].map((side) => element("i", { class: side }));
    return (this.skeleton = element("div", { class: "skeleton", role: "img", "aria-label": strings.loading }, ...lines));
  }

  #actions() {
    this.person = element(
      "button",
      { type: "button", class: "pill", onclick: () => this.chat.escalate() },
      icon(PATHS.person),
      strings.talkToPerson,
    );
    this.waiting = element("p", { class: "waiting", role: "status" });
    this.stop = element(
      "button",
      { type: "button", class: "pill stop", onclick: () => this.chat.stop() },
      icon(PATHS.stop),
      strings.stop,
    );
    return element("div", { class: "actions" }, this.person, this.waiting, this.stop);
  }

  #ending() {
    this.ended = element("p", { role: "status" });
    this.anew = element("button", { type: "button", class: "button", onclick: () => this.#again() });
    this.rating = new Rating(this.chat);
    return (this.ending = element("section", { class: "ending", "aria-label": strings.endedLine }, this.ended, this.rating.node, this.anew));
  }

  async #again() {
    if (this.chat.ended) await this.chat.startAnew();
    else this.chat.connectAgain();
    this.#render(); // now, for what is hidden takes no focus
    this.focus();
  }

  #render() {
    const { chat } = this;
    const focused = document.activeElement;
    const empty = !chat.messages.length && !chat.entries.some((entry) => entry.kind !== "escalate");
    const loading = empty && Boolean(chat.session) && !chat.caughtUp && chat.refusal === null;
    this.welcome.hidden = !empty || loading || chat.ended;
    this.skeleton.hidden = !loading;
    this.thread.node.hidden = empty;
    this.bar.textContent = chat.link === "lost" ? strings.reconnecting : "";
    this.#renderWho();
    this.#renderActions();
    this.#renderEnding();
    this.thread.render();
    this.composer.render();
    // A button that does its work and goes away must not take the keyboard's place with it.
    if (focused !== document.body && !focused.checkVisibility()) this.focus();
  }

  #renderWho() {
    const { state, who } = this.chat;
    const person = state === "human";
    this.node.dataset.state = state;
    this.badge.hidden = state === "closed";
    this.badge.textContent = person ? who || strings.team : strings.aiBadge;
    const lines = { ai: strings.assistantLine, waiting: strings.waitingLine, human: strings.personLine, closed: strings.endedLine };
    setText(this.line, lines[state]);
    this.avatar.replaceChildren(person ? initial(who) : icon(PATHS.assistant));
  }

  #renderActions() {
    const { chat } = this;
    const waits = chat.state === "waiting" || chat.asking;
    this.person.hidden = waits || chat.state === "human";
    this.stop.hidden = !chat.turn;
    this.waiting.hidden = !waits;
    if (!waits) return;
    const parts = [chat.state === "waiting" ? strings.waiting : strings.askingForPerson];
    if (chat.position) parts.push(strings.place(chat.position));
    if (chat.ticket) parts.push(strings.ticket(chat.ticket));
    setText(this.waiting, parts.join(" "));
  }

  #renderEnding() {
    const { chat } = this;
    const over = chat.ended || chat.refusal !== null;
    this.footer.hidden = over;
    this.ending.hidden = !over;
    if (!over) return;
    this.rating.render();
    const why = chat.ended ? this.#why() : (strings.refused[chat.refusal] ?? strings.refused.other);
    setText(this.ended, chat.ended && chat.unsent.length ? `${why} ${strings.unsent}` : why);
    setText(this.anew, chat.ended ? strings.startAnew : strings.connectAgain);
  }

  #why() {
    return this.chat.refusal === 4401 ? strings.gone : strings.ended;
  }
}

/** Leaves an unchanged text alone: a live region would say it again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function initial(name) {
  return name ? [...name][0].toUpperCase() : icon(PATHS.person);
}
