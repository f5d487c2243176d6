// One chat on the screen: who has it, what may be done, its log and its composer. Made anew for each chat that is opened.
import { Turn } from "../widget/turn.js";
import { ask } from "./ask.js";
import { Composer } from "./composer.js";
import { Log } from "./log.js";

const STATES = { ai: "AI", waiting: "Waiting", human: "A person", closed: "Closed" };

export class Thread {
  #ended = new AbortController();
  people = [];
  turn = null;
  assignee = null;
  busy = null; // the act that is under way

  /** `refresh()` fetches what the server makes of the chat: packet, details. */
  constructor(desk, root, { canned, say, refresh }) {
    Object.assign(this, { desk, root, say, refresh });
    this.id = root.dataset.thread;
    this.state = root.dataset.state;
    this.assignee = root.dataset.assignee ? { id: Number(root.dataset.assignee), name: root.dataset.assigneeName } : null;
    this.log = new Log(root, desk.outgoing);
    desk.outgoing.settle(this.id);
    this.composer = new Composer(root, { desk: this, canned, place: `${root.closest("[data-user]").dataset.user}.${this.id}` });
    this.composer.node.addEventListener("sent", () => this.log.follow());
    root.querySelector(".deeds").hidden = false;
    this.deeds = [...root.querySelectorAll("[data-deed]")];
    for (const deed of this.deeds) deed.addEventListener("click", () => this.do(deed.dataset.deed));
    this.select = root.querySelector("#assignee-choice");
    this.select.addEventListener("change", () => this.#assign());
    const { signal } = this.#ended;
    desk.addEventListener("chat", ({ detail }) => detail.conversation === this.id && this.#hear(detail), { signal });
    for (const moved of ["standing", "link"]) desk.addEventListener(moved, () => this.render(), { signal });
    desk.outgoing.addEventListener("change", () => this.#wait(), { signal });
    desk.follow(this.id, () => this.log.place);
    this.#wait();
    this.render();
  }

  end() {
    this.#ended.abort();
    this.tellTyping(false);
    this.desk.leave(this.id);
  }

  // ---- what the composer asks --------------------------------------------------------------------------

  get maxText() {
    return this.desk.maxText;
  }

  reply(text) {
    this.desk.outgoing.add("reply", this.id, text);
  }

  note(text) {
    this.desk.outgoing.add("note", this.id, text);
  }

  tellTyping(on) {
    if (this.typing === on) return;
    this.typing = on;
    if (this.mine) this.desk.tellTyping(this.id, on);
  }

  // ---- acts --------------------------------------------------------------------------------------------

  get mine() {
    return this.state === "human" && this.desk.isMe(this.assignee);
  }

  /** Takeover when it can be taken over, else the way back. */
  switchHands() {
    const deed = this.#may().takeover ? "takeover" : "release";
    if (this.#may()[deed]) this.do(deed);
  }

  /** One act at a time, in the order in which they were asked for. */
  async do(deed) {
    await this.busy;
    if (!this.#may()[deed]) return;
    if (deed === "resolve" && !(await this.#sure())) return;
    this.busy = this.#act(deed);
    await this.busy;
    if (deed === "takeover" && this.mine) this.composer.focus();
  }

  async #act(deed) {
    this.doing = deed;
    this.render();
    try {
      this.#stand(await this.desk.act(deed, this.id));
      this.say("");
      if (deed === "takeover") this.composer.switchTo("reply");
    } catch (error) {
      this.#refused(error);
    } finally {
      this.doing = null;
      this.render();
    }
  }

  async #assign() {
    const assignee = this.select.value ? Number(this.select.value) : null;
    try {
      this.#stand(await this.desk.act("assign", this.id, { assignee }));
      this.say("");
    } catch (error) {
      this.#refused(error);
    }
    this.render();
  }

  #refused(error) {
    if (!error.message) throw error;
    if (error.who) Object.assign(this, { assignee: error.who, state: "human" });
    this.say(error.message, true);
  }

  #sure() {
    return ask({
      title: "Resolve this chat?",
      text: "It ends for the customer, who can still read and rate it. What you have not sent stays here.",
      yes: "Resolve",
    });
  }

  #may() {
    const { desk, state } = this;
    const there = desk.link === "open" && !this.doing;
    return {
      takeover: there && desk.allows("takeover") && (state === "ai" || state === "waiting"),
      release: there && desk.allows("release") && this.mine,
      resolve: there && desk.allows("resolve") && state !== "closed",
      assign: there && desk.allows("assign") && state !== "closed",
    };
  }

  // ---- frames ------------------------------------------------------------------------------------------

  #hear(frame) {
    this.#hearers[frame.type]?.(frame);
    this.render();
  }

  #hearers = {
    subscribed: (frame) => this.#subscribed(frame),
    message: (frame) => this.#message(frame),
    note: (frame) => this.log.note(frame),
    state: (frame) => this.#stateMoved(frame),
    turn: ({ turn, status, tool }) => this.#turned(turn, status, tool),
    delta: (frame) => this.#delta(frame),
    typing: ({ role, on }) => (this.customerTypes = on && role === "customer"),
    presence: ({ people }) => (this.people = people),
    details: () => this.refresh(),
  };

  #subscribed(frame) {
    this.#stand(frame);
    this.people = frame.people;
    this.turn = null;
    this.log.write(null);
    if (!frame.recovered) location.reload(); // too much was missed for the socket
  }

  #message(message) {
    if (!this.log.message(message)) this.desk.follow(this.id, () => this.log.place);
    if (message.role === "customer") this.customerTypes = false;
    const activity = this.root.querySelector("#activity dd");
    activity.dataset.at = message.created_at;
    activity.textContent = "just now";
    if (message.turn && message.turn === this.turn?.id) this.#turned(message.turn, "ended");
  }

  #stateMoved({ state, who }) {
    const people = this.desk.staff;
    if (state !== "human") this.assignee = null;
    else if (who && who !== this.assignee?.name) this.assignee = people.find(({ name }) => name === who) ?? { id: 0, name: who };
    this.state = state;
    this.#turned(this.turn?.id, "ended");
    this.refresh();
  }

  #stand({ state, assignee }) {
    const moved = state !== this.state;
    this.state = state;
    this.assignee = assignee;
    if (moved) this.refresh();
  }

  #turned(id, status, tool) {
    if (status === "ended") {
      if (this.turn?.id === id) this.turn = null;
    } else {
      if (this.turn?.id !== id) this.turn = new Turn(id);
      this.turn.tool = status === "tool" ? tool : null;
    }
    this.log.write(this.turn);
  }

  #delta(frame) {
    if (this.turn?.id !== frame.turn) return;
    this.turn.write(frame);
    this.log.write(this.turn);
  }

  // ---- showing -----------------------------------------------------------------------------------------

  #wait() {
    this.log.wait(this.desk.outgoing.of(this.id), this.desk.link === "open");
  }

  render() {
    const { root, state } = this;
    root.dataset.state = state;
    const badge = root.querySelector("#state");
    badge.className = `state ${state}`;
    setText(badge, (state === "human" && this.#whose()) || STATES[state]);
    this.#renderDeeds();
    this.#renderAssignee();
    this.#renderPeople();
    root.querySelector("#reading").hidden = this.mine || !this.composer.node.hidden;
    this.composer.allow({
      why: this.#locked(),
      takeover: this.#may().takeover,
      note: this.desk.allows("note"),
      writable: this.desk.may.size > 0 && (this.desk.allows("note") || this.desk.allows("reply")),
    });
    this.composer.render();
    this.#wait();
  }

  #renderDeeds() {
    const may = this.#may();
    const focused = document.activeElement;
    for (const deed of this.deeds) {
      if (deed.closest(".locked")) continue;
      const busy = this.doing === deed.dataset.deed;
      deed.hidden = !may[deed.dataset.deed] && !busy;
      deed.setAttribute("aria-disabled", String(busy));
    }
    // A button that has done its work and goes must not take the keyboard's place with it.
    if (this.root.contains(focused) && !focused.checkVisibility()) this.root.focus();
  }

  #renderAssignee() {
    const may = this.#may().assign;
    setText(this.root.querySelector("#assignee"), this.#whose() || "nobody");
    this.root.querySelector("#assignee").hidden = may;
    this.select.hidden = !may;
    if (!may || document.activeElement === this.select) return;
    const people = [...this.desk.staff];
    if (this.assignee && !people.some(({ id }) => id === this.assignee.id)) people.push(this.assignee);
    const options = people.map((person) => new Option(`${person.name}${this.#about(person)}`, person.id));
    if (this.state !== "human") options.unshift(new Option("nobody", ""));
    const wanted = String(this.assignee?.id ?? "");
    const shown = options.map(({ text, value }) => `${value} ${text}`).join("\n") + wanted;
    if (shown === this.shownOptions && this.select.value === wanted) return;
    this.shownOptions = shown;
    this.select.replaceChildren(...options);
    this.select.value = wanted;
  }

  #about(person) {
    if (this.desk.isMe(person)) return " (you)";
    return person.online === false ? " (away)" : "";
  }

  #renderPeople() {
    const others = this.people.filter((person) => !this.desk.isMe(person));
    const words = ({ name, doing }) => (doing === "writing" ? `${name} is writing` : `${name} is looking`);
    setText(this.root.querySelector("#presence"), others.map(words).join(" · "));
    setText(this.root.querySelector("#typing"), this.customerTypes ? `${this.log.name} is writing…` : "");
  }

  #whose() {
    if (!this.assignee) return "";
    return this.assignee.name;
  }

  #locked() {
    if (this.state === "closed") return "This chat has ended. It can be read, and noted on.";
    if (!this.desk.allows("reply")) return "You may not reply: ask for the permission.";
    if (this.state === "ai") return "The AI is answering this chat.";
    if (this.state === "waiting") return "The customer waits for a person. The AI goes on answering until someone takes over.";
    return this.mine ? "" : `${this.#whose() || "A colleague"} has this chat.`;
  }
}

/** Leaves an unchanged text alone: a live region would say it again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
