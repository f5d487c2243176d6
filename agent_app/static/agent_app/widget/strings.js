// Every sentence that the chat shows, in one place. Django's catalogue of the page's language stands before this module in
// the page and has made its `django`; a sentence that it lacks stays English.
const { gettext, ngettext, interpolate } = globalThis.django;

const spoken = document.documentElement.lang;

/** For dates and numbers: the page's language as it is written where the reader is, en-IE rather than en. */
export const locale = navigator.languages.find((tag) => tag.split("-")[0] === spoken.split("-")[0]) ?? spoken;

const numbers = new Intl.NumberFormat(locale);

function number(value) {
  return numbers.format(value);
}

/** A name or a ticket is in letters of its own: isolated, lest its dots and dashes jump to the wrong end of it. */
function filled(sentence, values) {
  if (document.documentElement.dir !== "rtl") return interpolate(sentence, values, true);
  const isolated = Object.entries(values).map(([name, value]) => [name, `\u2068${value}\u2069`]);
  return interpolate(sentence, Object.fromEntries(isolated), true);
}

export const strings = {
  title: gettext("Help"),
  close: gettext("Close chat"),
  assistant: gettext("Assistant"),
  assistantLine: gettext("Answers at any time"),
  aiBadge: gettext("AI"),
  waitingLine: gettext("A person will join you here"),
  personLine: gettext("is answering you"),
  endedLine: gettext("This chat has ended"),

  welcomeTitle: gettext("Hello! How can we help?"),
  welcomeText: gettext("The assistant answers at once and shows its sources. A person takes over when you ask for one."),
  starters: [gettext("Where is my order?"), gettext("How can I return something?"), gettext("How long does delivery take?")],

  placeholder: gettext("Write a message"),
  messageLabel: gettext("Your message"),
  send: gettext("Send"),
  tooLong: (length, most) =>
    filled(
      ngettext(
        "%(length)s of %(most)s character: please shorten it.",
        "%(length)s of %(most)s characters: please shorten it.",
        most,
      ),
      { length: number(length), most: number(most) },
    ),
  attach: gettext("Attach a file"),
  files: gettext("Files"),
  removeFile: (name) => filled(gettext("Remove %(name)s"), { name }),
  uploading: (name) => filled(gettext("Uploading %(name)s"), { name }),
  uploaded: (name) => filled(gettext("%(name)s is attached."), { name }),
  notUploaded: gettext("Not uploaded: there is no connection."),
  tooManyFiles: (most) =>
    filled(
      ngettext("At most %(most)s file goes with one message.", "At most %(most)s files go with one message.", most),
      { most: number(most) },
    ),
  fileTooLarge: (most) => filled(gettext("Too large: at most %(most)s MB."), { most: number(most) }),
  fileNotOpened: gettext("This file could not be opened. Please try again."),
  dropHere: gettext("Drop files here"),
  talkToPerson: gettext("Talk to a person"),
  askingForPerson: gettext("Asking for a person…"),
  waiting: gettext("Waiting for a person."),
  place: (position) => filled(gettext("You are number %(position)s in line."), { position: number(position) }),
  ticket: (ticket) => filled(gettext("Ticket %(ticket)s."), { ticket }),
  stop: gettext("Stop"),
  stopped: gettext("Stopped"),

  you: gettext("You"),
  said: (who) => filled(gettext("%(who)s said:"), { who }),
  team: gettext("Our team"),
  writing: (who) => filled(gettext("%(who)s is writing"), { who }),
  sources: gettext("Sources"),
  source: (n, title) => filled(gettext("Source %(n)s: %(title)s (opens in a new tab)"), { n, title }),
  choose: gettext("Choose an answer"),
  confirm: gettext("Confirm"),
  decline: gettext("Cancel"),
  confirmThis: (summary) => filled(gettext("Confirm or cancel: %(summary)s"), { summary }),
  // As the desk will write them down in the log, in the agent's own words.
  confirmed: "Yes, I confirm.",
  declined: "No, leave it as it is.",
  today: gettext("Today"),
  yesterday: gettext("Yesterday"),
  newMessages: gettext("New messages"),

  judge: gettext("Was this helpful?"),
  helpful: gettext("This helped"),
  notHelpful: gettext("This did not help"),
  why: gettext("What was wrong? You need not say."),
  whyLabel: gettext("In your own words"),
  reasons: [gettext("Not what I asked"), gettext("Wrong or out of date"), gettext("Something is missing")],
  thanksForWord: gettext("Thank you."),

  queued: gettext("Waiting to be sent"),
  sending: gettext("Sending…"),
  failed: gettext("Not sent."),
  retry: gettext("Retry"),
  discard: gettext("Delete"),

  loading: gettext("Loading your chat"),
  reconnecting: gettext("Reconnecting…"),
  ended: gettext("This chat has ended. You can still read it."),
  gone: gettext("That chat is no longer available."),
  unsent: gettext("What you had not sent yet comes along."),
  rate: gettext("How was this chat?"),
  stars: (count) => filled(gettext("%(count)s of 5"), { count: number(count) }),
  rateWhy: gettext("Anything to add?"),
  notRated: gettext("There is no connection: please try again."),
  startAnew: gettext("Start a new chat"),
  refused: {
    4403: gettext("The chat may not be opened from this website."),
    4429: gettext("That was a little fast. Please wait a moment."),
    other: gettext("The connection was refused."),
  },
  connectAgain: gettext("Connect again"),

  thinking: gettext("Thinking…"),
  tools: {
    search_knowledge: gettext("Looking in our help pages…"),
    recall: gettext("Remembering what you said…"),
    read_attachment: gettext("Reading your file…"),
    ask_for_person: gettext("Asking for a person…"),
    order_status: gettext("Looking up your order…"),
    list_orders: gettext("Looking up your orders…"),
    cancel_order: gettext("Seeing to your order…"),
    return_order: gettext("Seeing to your order…"),
    change_delivery_address: gettext("Seeing to your order…"),
    search_products: gettext("Looking in the shop…"),
    check_stock: gettext("Looking what is in stock…"),
    invoices: gettext("Looking up your invoices…"),
    balance: gettext("Looking up your invoices…"),
    look_up_customer: gettext("Looking up your details…"),
    customer_tickets: gettext("Looking up your requests…"),
    update_contact: gettext("Seeing to your details…"),
    other: gettext("Working on it…"),
  },
};
