// One row of the thread: a message of the log, or one that waits to be sent.
import { element, icon, PATHS } from "./element.js";
import { fileList } from "./files.js";
import { judgement } from "./judgement.js";
import { citationLink, rendered } from "./markdown.js";
import { locale, strings } from "./strings.js";

const clock = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" });

export function sender({ role, author }) {
  if (role === "customer") return strings.you;
  return author || (role === "staff" ? strings.team : strings.assistant);
}

/** A customer's own text is shown as typed: nobody expects their asterisks to vanish. */
function body(message) {
  if (!message.text) return null; // a file says it all
  if (message.role === "customer") return element("div", { class: "text plain", dir: "auto" }, message.text);
  return element("div", { class: "text", dir: "auto" }, rendered(message.text, message.citations));
}

function sources(citations) {
  if (!citations.length) return null;
  const items = citations.map((citation) =>
    element("li", {}, citationLink(citation, icon(PATHS.page), element("span", { dir: "auto" }, `${citation.n}. ${citation.title}`))),
  );
  return element("ul", { class: "sources", "aria-label": strings.sources }, ...items);
}

export function messageRow(message, act) {
  const foot = element("p", { class: "foot" });
  const node = element(
    "div",
    { class: `row ${message.role}`, "data-seq": message.seq },
    element("span", { class: "unseen" }, strings.said(sender(message))),
    element("div", { class: "bubble" }, body(message), fileList(message.attachments), sources(message.citations)),
    foot,
    message.role === "agent" ? judgement(message, act) : null,
  );
  const choices = choiceButtons(message, act);
  if (choices) node.insertBefore(choices, foot);
  return { node, foot, choices, at: new Date(message.created_at), stopped: message.stopped };
}

function choiceButtons(message, act) {
  if (message.confirm) return confirmCard(message, act);
  if (!message.choices?.length) return null;
  const buttons = message.choices.map((choice) => choiceButton(choice, choice.label, act));
  return element("div", { class: "choices", role: "group", "aria-label": strings.choose }, ...buttons);
}

function choiceButton(choice, label, act, kind = "") {
  const onclick = ({ currentTarget }) => currentTarget.getAttribute("aria-disabled") === "true" || act.choose(choice);
  return element("button", { type: "button", class: `choice ${kind}`.trim(), "data-choice": choice.id, dir: "auto", onclick }, label);
}

/** Shows which was chosen, and that it cannot be changed any more; `chosen` null: it is still open. The keyboard's place
 *  stays where it is, which a disabled button would lose. */
export function markChosen(card, chosen) {
  for (const button of card.querySelectorAll(".choice")) {
    button.setAttribute("aria-disabled", String(chosen !== null));
    button.setAttribute("aria-pressed", String(button.dataset.choice === chosen));
  }
}

/** What is to be confirmed, in the desk's own words, whatever the message says; and the two answers to it. */
function confirmCard({ text, confirm: { id, summary } }, act) {
  const about = text.includes(summary) ? null : element("p", { class: "summary", dir: "auto" }, summary);
  const once = {
    choose(choice) {
      markChosen(card, choice.id); // at once: a double click comes before the next picture
      act.choose(choice);
    },
  };
  const card = element(
    "div",
    { class: "choices confirm", role: "group", "aria-label": strings.confirmThis(summary) },
    about,
    choiceButton({ id, label: strings.confirmed }, strings.confirm, once, "primary"),
    choiceButton({ id: `${id}:no`, label: strings.declined }, strings.decline, once),
  );
  return card;
}

export function pendingRow(entry, act) {
  const foot = element("p", { class: "foot" });
  const message = { role: "customer", text: entry.text, attachments: entry.attachments };
  const again = element("button", { type: "button", class: "link", onclick: () => act.retry(entry) }, strings.retry);
  const away = element("button", { type: "button", class: "link", onclick: () => act.discard(entry) }, strings.discard);
  const failed = element("p", { class: "failed", role: "alert", hidden: true }, element("span"), element("span", {}, again, " ", away));
  const node = element(
    "div",
    { class: "row customer pending" },
    element("span", { class: "unseen" }, strings.said(strings.you)),
    element("div", { class: "bubble" }, body(message), fileList(message.attachments)),
    foot,
    failed,
  );
  return { node, foot, failed, at: new Date(entry.at) };
}

export function time(at) {
  return clock.format(at);
}
