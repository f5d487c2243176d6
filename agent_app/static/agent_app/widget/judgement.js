// Thumbs below an answer; after a thumb down the customer may say why.
import { element, icon, PATHS } from "./element.js";
import { recall, remember } from "./memory.js";
import { strings } from "./strings.js";

const JUDGED = "supportdesk.judged";
const KEPT = 200; // answers of which this browser remembers what was said

function judged() {
  return JSON.parse(recall(JUDGED)) ?? {};
}

function note(id, helpful) {
  const entries = Object.entries({ ...judged(), [id]: helpful }).slice(-KEPT);
  remember(JUDGED, JSON.stringify(Object.fromEntries(entries)));
}

export function judgement({ id, seq }, chat) {
  const thumb = (helpful) =>
    element(
      "button",
      { type: "button", class: helpful ? "thumb up" : "thumb down", "aria-label": helpful ? strings.helpful : strings.notHelpful, "aria-pressed": String(judged()[id] === helpful), onclick: () => judge(helpful) },
      icon(PATHS.thumb),
    );
  const thumbs = [thumb(true), thumb(false)];
  const thanks = element("span", { class: "thanks", role: "status" });
  const node = element("div", { class: "judgement", role: "group", "aria-label": strings.judge }, ...thumbs, thanks);
  let why = null;

  function judge(helpful, comment) {
    if (!chat.judge(seq, helpful, comment)) return;
    note(id, helpful);
    thumbs.forEach((button, place) => button.setAttribute("aria-pressed", String(helpful === !place)));
    why?.remove();
    why = null;
    thanks.textContent = helpful || comment !== undefined ? strings.thanksForWord : "";
    if (!helpful && comment === undefined) ask();
  }

  function ask() {
    const text = element("input", { type: "text", maxlength: "1000", "aria-label": strings.whyLabel, placeholder: strings.whyLabel });
    const reasons = strings.reasons.map((reason) =>
      element("button", { type: "button", class: "choice", onclick: () => say(reason) }, reason),
    );
    why = element(
      "form",
      { class: "why", "aria-label": strings.why },
      element("p", {}, strings.why),
      element("div", { class: "choices" }, ...reasons),
      element("div", { class: "line" }, text, element("button", { type: "submit", class: "pill" }, strings.send)),
    );
    why.addEventListener("submit", (event) => {
      event.preventDefault();
      say(text.value.trim());
    });
    why.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // it closes the question, not the chat
      why.remove();
      why = null;
      thumbs[1].focus();
    });
    node.append(why);
    reasons[0].focus();
    why.scrollIntoView({ block: "nearest" });
  }

  function say(comment) {
    judge(false, comment);
    thumbs[1].focus();
  }

  return node;
}
