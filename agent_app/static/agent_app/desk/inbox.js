// The first column: cards as the socket tells of them, with their order, their counts, and the ring for who waits.
import { Refused, Unreachable } from "../widget/api.js";
import { get } from "./api.js";
import { fetchPage, swap } from "./page.js";

const AGES_MS = 20_000;
const SEARCH_MS = 250; // after the last key
const FRESH_MS = 3000; // a card that changed so soon after its customer asked for a person tells of that wish
const AGAIN_MS = 1000; // between two looks at a list that only the server can make
const template = document.getElementById("card-template");

const SHOWN = {
  waiting: ({ state }) => state === "waiting",
  mine: ({ assignee, state }, desk) => state !== "closed" && desk.isMe(assignee),
  ai: ({ state }) => state === "ai",
  all: ({ state }) => state !== "closed",
};

export class Inbox extends EventTarget {
  #waiting = new Set(); // ids that wait, as far as we know
  #seen = false; // whether we have asked who waits: before that only one who has just begun to rings
  #due = null;
  #meanwhile = null; // cards that came while the server's list was on its way, which may be older than they are

  constructor(desk, chime) {
    super();
    this.desk = desk;
    this.chime = chime;
    this.list = document.getElementById("cards");
    this.tabs = document.getElementById("tabs");
    this.search = document.querySelector(".search [type=search]");
    this.title = document.title.replace(/^\(\d+\) /, "");
    desk.addEventListener("welcome", ({ detail }) => this.#welcomed(detail));
    desk.addEventListener("inbox", ({ detail }) => this.#hear(detail));
    this.search.addEventListener("input", () => this.#searchSoon());
    this.search.form.addEventListener("submit", (event) => this.#submitted(event));
    this.list.addEventListener("click", (event) => this.#clicked(event));
    this.tabs.addEventListener("click", (event) => this.#clickedTab(event));
    setInterval(() => this.#tellAges(), AGES_MS);
    this.#watch();
  }

  get tab() {
    return this.tabs.querySelector("[aria-current]").dataset.tab;
  }

  /** The tab and the search, as an address has them. */
  get place() {
    const place = new URLSearchParams({ tab: this.tab });
    if (this.words) place.set("q", this.words);
    return `?${place}`;
  }

  get words() {
    return this.search.value.trim();
  }

  // ---- moving ------------------------------------------------------------------------------------------

  /** The card so many steps from the one that is open, or from the one that has the keyboard. */
  step(by) {
    const cards = [...this.list.querySelectorAll(".card")];
    const here = cards.findIndex((card) => card === document.activeElement || card.hasAttribute("aria-current"));
    const from = here >= 0 ? here : (this.lastIndex ?? 0) - (by > 0 ? 1 : 0);
    const next = cards[Math.min(Math.max(from + by, 0), cards.length - 1)];
    if (!next) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
    if (document.body.classList.contains("showing-thread") || matchMedia("(min-width: 821px)").matches) this.#open(next);
  }

  /** Marks the card of the chat that is shown. */
  mark(thread) {
    this.thread = thread;
    for (const card of this.list.querySelectorAll(".card")) {
      if (card.dataset.thread === thread) card.setAttribute("aria-current", "true");
      else card.removeAttribute("aria-current");
    }
  }

  entitle(name) {
    this.title = name ? `${name} · Desk` : "Desk";
    this.#entitle();
  }

  #open(card) {
    this.dispatchEvent(new CustomEvent("open", { detail: card.dataset.thread }));
  }

  #clicked(event) {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.#open(card);
  }

  #clickedTab(event) {
    const tab = event.target.closest("[data-tab]");
    if (!tab || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    this.show(tab.dataset.tab);
  }

  show(tab) {
    for (const each of this.tabs.children) {
      if (each.dataset.tab === tab) each.setAttribute("aria-current", "page");
      else each.removeAttribute("aria-current");
    }
    this.search.form.elements.tab.value = tab;
    this.#watch();
    this.#moved();
  }

  #watch() {
    this.desk.watch(this.tab === "ai" || this.tab === "all" ? ["waiting", "human", "ai"] : ["waiting", "human"]);
  }

  #submitted(event) {
    event.preventDefault();
    this.#moved();
  }

  #searchSoon() {
    clearTimeout(this.searching);
    this.searching = setTimeout(() => this.#moved(), SEARCH_MS);
  }

  #moved() {
    this.dispatchEvent(new Event("moved"));
    this.look();
  }

  // ---- the server's list -------------------------------------------------------------------------------

  /** The list as the server makes it. Only the newest look counts. */
  async look() {
    this.#due = null;
    this.looking?.abort();
    this.looking = new AbortController();
    const { signal } = this.looking;
    this.#meanwhile = [];
    try {
      const page = await fetchPage(`/desk/${this.place}`, { signal });
      if (signal.aborted) return;
      const fresh = page.getElementById("cards");
      if (!this.#meanwhile.length) this.#counted(countsOf(page));
      if (!this.words) this.#meanwhile.forEach((card) => this.#put(card, fresh));
      this.#meanwhile = null;
      withoutWords(fresh);
      this.#show(fresh);
      this.mark(this.thread);
      this.#tellAges();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Unreachable)) throw error;
    }
  }

  /** In one step: a card that left the page for a moment would lose the keyboard's place. */
  #show(fresh) {
    const cards = [...this.list.querySelectorAll(".card")];
    const here = cards.indexOf(document.activeElement);
    swap(this.list, fresh);
    if (here < 0 || this.list.contains(document.activeElement)) return;
    const nearest = [...cards.slice(here + 1), ...cards.slice(0, here).reverse()];
    const left = nearest.map(({ id }) => document.getElementById(id)).find((card) => card);
    left?.focus({ preventScroll: true });
  }

  #lookSoon() {
    this.#due ??= setTimeout(() => this.look(), AGAIN_MS);
  }

  // ---- the socket --------------------------------------------------------------------------------------

  async #welcomed({ counts }) {
    this.#counted(counts);
    this.look();
    const results = await whoWaits();
    const since = this.#seen && results.find(({ id }) => !this.#waiting.has(id));
    for (const { id } of results) this.#waiting.add(id);
    this.#seen = true;
    if (since) this.chime.ring(since.id);
  }

  #hear({ conversations, counts }) {
    for (const card of conversations) {
      this.#ringFor(card);
      this.#meanwhile?.push(card);
      if (!this.words) this.#put(card);
    }
    if (this.words) this.#lookSoon();
    this.#counted(counts);
    this.#sayWhenEmpty();
  }

  #ringFor({ id, state, waiting_since, updated_at }) {
    if (state !== "waiting") return this.#waiting.delete(id);
    const known = this.#waiting.has(id) || (!this.#seen && Date.parse(updated_at) - Date.parse(waiting_since) > FRESH_MS);
    this.#waiting.add(id);
    return known || this.chime.ring(id);
  }

  #counted(counts) {
    for (const tab of this.tabs.children) {
      const count = tab.querySelector(".count");
      if (count.textContent !== String(counts[tab.dataset.tab])) count.textContent = counts[tab.dataset.tab];
    }
    this.#entitle();
  }

  #entitle() {
    const waiting = Number(this.tabs.querySelector("[data-tab=waiting] .count").textContent);
    const title = waiting ? `(${waiting}) ${this.title}` : this.title;
    if (document.title !== title) document.title = title;
  }

  // ---- cards -------------------------------------------------------------------------------------------

  /** Where it belongs in the list on the page, or in one that is not shown yet. */
  #put(card, list = this.list) {
    const there = [...list.children].find((row) => row.firstElementChild?.dataset.thread === card.id);
    if (!SHOWN[this.tab](card, this.desk)) {
      if (there) this.#takeOut(there);
      return;
    }
    const row = there ?? template.content.firstElementChild.cloneNode(true);
    fill(row.firstElementChild, card, this);
    const before = this.#behind(row, card, list);
    if (row.nextElementSibling === before && there) return; // a card that moves would lose the keyboard's place
    const focused = row.contains(document.activeElement);
    list.insertBefore(row, before);
    if (focused) row.firstElementChild.focus({ preventScroll: true });
  }

  #takeOut(row) {
    const card = row.firstElementChild;
    if (card.dataset.thread === this.thread) this.lastIndex = [...this.list.children].indexOf(row);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const focused = card === document.activeElement;
    row.remove();
    if (focused) next?.querySelector(".card")?.focus();
  }

  /** The row that it stands before: longest waiting first, elsewhere the newest first. */
  #behind(row, card, list) {
    const key = Date.parse(this.sortAt(card));
    const oldestFirst = this.tab === "waiting";
    for (const other of list.children) {
      const at = Date.parse(other.querySelector(".age")?.dataset.sortAt);
      if (other === row || Number.isNaN(at)) continue;
      if (oldestFirst ? at > key : at < key) return other;
    }
    return list.querySelector(".empty");
  }

  sortAt({ waiting_since, updated_at }) {
    return this.tab === "waiting" ? waiting_since : updated_at;
  }

  #sayWhenEmpty() {
    withoutWords(this.list);
    if (!this.list.querySelector(".card, .empty")) this.look(); // the server knows what to say
  }

  #tellAges() {
    for (const age of this.list.querySelectorAll(".age[data-at]")) {
      const text = shortAge(Date.now() - Date.parse(age.dataset.at));
      if (age.textContent !== text) age.textContent = text;
    }
    const activity = document.querySelector("#activity dd");
    if (!activity) return;
    const quiet = shortAge(Date.now() - Date.parse(activity.dataset.at));
    activity.textContent = quiet === "now" ? "just now" : `${quiet} ago`;
  }
}

/** What an empty list says goes when there are cards. */
function withoutWords(list) {
  if (list.querySelector(".card")) list.querySelector(".empty:not(.more)")?.remove();
}

/** Nobody when the desk cannot say: then only what it tells by itself rings. */
async function whoWaits() {
  try {
    return (await get("/api/v1/desk/conversations/?state=waiting&limit=100")).results;
  } catch (error) {
    if (!(error instanceof Unreachable || error instanceof Refused)) throw error;
    return [];
  }
}

function fill(node, card, inbox) {
  node.id = `card-${card.id}`;
  node.dataset.thread = card.id;
  node.href = `/desk/${card.id}/${inbox.place}`;
  node.classList.toggle("needs-answer", card.needs_answer);
  if (card.id === inbox.thread) node.setAttribute("aria-current", "true");
  const set = (name, text) => {
    const part = node.querySelector(name);
    if (part.textContent !== text) part.textContent = text;
  };
  set(".who", card.name);
  set(".preview", card.preview || "No message yet");
  const at = card.waiting_since ?? card.updated_at; // how long it has waited, or since it changed
  set(".age", shortAge(Date.now() - Date.parse(at)));
  set(".state", card.state === "waiting" ? "Waiting" : card.answers);
  Object.assign(node.querySelector(".age").dataset, { at, sortAt: inbox.sortAt(card) });
  node.querySelector(".tick").hidden = !card.verified;
  node.querySelector(".state").className = `state ${card.state}`;
  const others = card.looking.filter((person) => !inbox.desk.isMe(person)).map(({ name }) => name);
  set(".lookers", others.length ? `${others.join(", ")} ${others.length > 1 ? "are" : "is"} looking` : "");
  node.querySelector(".lookers").hidden = !others.length;
}

function countsOf(page) {
  const tabs = page.querySelectorAll("#tabs [data-tab]");
  return Object.fromEntries([...tabs].map((tab) => [tab.dataset.tab, Number(tab.querySelector(".count").textContent)]));
}

/** As short as a card needs it: now, 5 min, 3 h, 2 d. The server says the same. */
function shortAge(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  return minutes < 24 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / (24 * 60))} d`;
}
