"""Doing an errand with the tools, and saying what came of it. Every figure in the sentences is the tool's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from agent_app.agent import catalogue
from agent_app.agent.errands import Errand
from agent_app.agent.events import FAILURES, NeedsConfirmation, ToolError, ToolResult, TurnContext
from agent_app.agent.responder import Tool, call_tool
from agent_app.agent.wishes import ADDRESS, CANCEL, RETURN

MOST_LISTED = 5
OFFERED = 4  # orders to choose from
# In which states an order is one for the errand, and how its choice is worded, so that the words are the errand again.
CHANGES = {
    CANCEL: ("received", "Cancel order {number}"),
    RETURN: ("delivered", "Return order {number}"),
    ADDRESS: ("received", "Change the address of order {number}"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What to say; `found` is False where the help pages should have their turn."""

    text: str
    tools: tuple[str, ...] = ()
    choices: tuple[dict[str, Any], ...] = ()
    confirm: NeedsConfirmation | None = None
    failed: str = ""  # ToolError's code, where the tool gave nothing
    found: bool = True


async def do(errand: Errand, context: TurnContext, tools: Mapping[str, Tool]) -> Report:
    if errand.missing == "order_number":
        return await choose_order(errand, context, tools)
    if errand.missing == "address":
        return Report(catalogue.WHICH_ADDRESS.format(number=errand.arguments["order_number"]))
    outcome = await call_tool(tools, context, errand.tool, errand.arguments)
    used = (errand.tool,)
    if isinstance(outcome, NeedsConfirmation):
        return Report(catalogue.ASK.format(summary=outcome.summary), used, confirm=outcome)
    if isinstance(outcome, ToolResult):
        return replace(SAY[errand.tool](outcome.value, errand), tools=used)
    return replace(trouble(outcome, errand), tools=used)


def trouble(error: ToolError, errand: Errand) -> Report:
    if error.code == "needs_identity":
        return Report(catalogue.VERIFY if errand.sure else catalogue.VERIFY_HINT, found=errand.sure)
    if error.code == "not_found" and not errand.sure:
        return Report("", found=False)
    if error.said and error.code not in FAILURES:
        return Report(error.said)
    if error.code in FAILURES:
        return Report(catalogue.AWAY, failed=error.code)
    return Report(catalogue.REFUSED)


async def choose_order(errand: Errand, context: TurnContext, tools: Mapping[str, Tool]) -> Report:
    """For a change without an order's number: the one order that it can mean, or a question with choices."""
    listed = await call_tool(tools, context, "list_orders", {})
    if not isinstance(listed, ToolResult):
        said = trouble(listed, errand) if isinstance(listed, ToolError) else Report(catalogue.REFUSED)
        return replace(said, tools=(listed.tool,))
    state, label = CHANGES[errand.tool]
    fitting = [order for order in listed.value if order["status"] == state]
    if not fitting:
        return Report(catalogue.NO_ORDER_FOR[errand.tool], (listed.tool,))
    if len(fitting) == 1:
        missing = "address" if errand.tool == ADDRESS else None
        return await do(Errand(errand.tool, {"order_number": fitting[0]["number"]}, missing), context, tools)
    choices = tuple(
        {"id": f"{errand.tool}-{order['number']}", "label": label.format(number=order["number"])}
        for order in fitting[:OFFERED]
    )
    listed_items = zip(choices, fitting[:OFFERED], strict=True)
    lines = "\n".join(f"{place}. {each['label']}: {items(o)}" for place, (each, o) in enumerate(listed_items, 1))
    return Report(f"{catalogue.WHICH_ORDER}\n\n{lines}", (listed.tool,), choices)


# ---- saying what a tool gave ----


def say_order(order: Mapping[str, Any], errand: Errand) -> Report:
    return Report(f"{about_order(order)} {about_change(order, errand.about)}".strip())


def about_change(order: Mapping[str, Any], asked: str) -> str:
    """The answer to "was it cancelled?", where the order's state does not give it by itself."""
    if asked == ADDRESS:
        return f"It is sent to {order['address']}." if order.get("address") else ""
    unchanged = order["status"] in {"received", "packed", "shipped", "delivered"}
    return catalogue.NOT_IN_STATE.get(asked, "") if unchanged else ""


def about_order(order: Mapping[str, Any]) -> str:
    state = STATES.get(order["status"], order["status"].replace("_", " "))
    parts = [f"Order **{order['number']}** {state}: {items(order)}, {money(order['total'], order['currency'])} in all."]
    if order.get("tracking") and order["status"] not in {"cancelled", "return_requested"}:
        carrier = order.get("carrier") or "The carrier"
        parts.append(f"{carrier} has it under the tracking number **{order['tracking']}**.")
    if order.get("delivered_on"):
        parts.append(f"It was delivered on {day(order['delivered_on'])}.")
    elif order.get("expected_on") and order["status"] in {"received", "packed", "shipped"}:
        parts.append(f"It is expected on {day(order['expected_on'])}.")
    return " ".join(parts)


STATES = {
    "received": "has been received and is not packed yet",
    "packed": "is packed and waits for the courier",
    "shipped": "has been shipped",
    "delivered": "has been delivered",
    "cancelled": "is cancelled",
    "return_requested": "is to come back to us, its return is under way",
}


IN_STATE = {CANCEL: {"cancelled"}, RETURN: {"return_requested", "returned", "refunded"}}


def items(order: Mapping[str, Any]) -> str:
    return ", ".join(f"{item.get('quantity', 1)} × {item['name']}" for item in order["items"]) or "no items"


def say_orders(orders: list[Mapping[str, Any]], errand: Errand) -> Report:
    if not orders:
        return Report("I find no orders of yours.")
    if errand.about in IN_STATE:
        changed = [order for order in orders if order["status"] in IN_STATE[errand.about]][:MOST_LISTED]
        return Report("\n\n".join(map(about_order, changed)) or catalogue.NONE_IN_STATE[errand.about])
    under_way = [order for order in orders if order["status"] in {"received", "packed", "shipped"}]
    shown = (under_way or orders)[:MOST_LISTED]
    if len(shown) == 1:
        return Report(about_order(shown[0]))
    first = "These orders of yours are under way:" if under_way else "These are your latest orders:"
    return Report("\n".join([first, "", *(f"- {about_order(order)}" for order in shown)]))


def say_invoices(invoices: list[Mapping[str, Any]], errand: Errand) -> Report:
    number = errand.arguments.get("order_number")
    if not invoices:
        about = f" for order {number}" if number else ""
        return Report(f"I find no invoice of yours{about}. An invoice is made when an order is shipped.")
    lines = []
    for invoice in invoices[:MOST_LISTED]:
        due = f", due on {day(invoice['due_on'])}" if invoice["status"] == "open" and invoice.get("due_on") else ""
        order = f" for order {invoice['order']}" if invoice.get("order") else ""
        amount = money(invoice["amount"], invoice["currency"])
        lines.append(f"- **{invoice['number']}**{order}: {amount}, {invoice['status']}{due}")
    return Report("\n".join(["Your invoices:" if len(lines) > 1 else "Your invoice:", "", *lines]))


def say_balance(balance: Mapping[str, Any], errand: Errand) -> Report:
    unpaid = [str(number) for number in balance.get("open") or ()]
    if not unpaid:
        return Report("Nothing is open: all your invoices are paid.")
    amount = money(balance["amount"], balance["currency"])
    return Report(f"**{amount}** is open, on {' and '.join(unpaid)}.")


def say_stock(product: Mapping[str, Any], errand: Errand) -> Report:
    said = str(errand.arguments["product"]).lower()
    if not set(words_of(said)) & set(words_of(product["name"])) and product["sku"].lower() not in said:
        return Report("", found=False)
    counts = {row["place"]: row["count"] for row in product.get("stock", ())}
    price = money(product["price"], product["currency"])
    there = [f"{place} {count}" for place, count in counts.items() if count]
    if not there:
        return Report(f"**{product['name']}** ({price}) is sold out at the moment.")
    warehouse = "in stock" if counts.get("warehouse", 1) else "sold out online, but some of our shops have it"
    return Report(f"**{product['name']}** ({price}) is {warehouse}: {', '.join(there)}.")


def words_of(name: str) -> list[str]:
    return [word.rstrip("s") for word in name.lower().split() if len(word) >= 4]


def say_tickets(tickets: list[Mapping[str, Any]], errand: Errand) -> Report:
    if not tickets:
        return Report("I find no requests of yours.")
    lines = [f"- **{ticket['number']}**: {ticket['subject']} ({ticket['status']})" for ticket in tickets[:MOST_LISTED]]
    return Report("\n".join(["Your requests:", "", *lines]))


def say_customer(customer: Mapping[str, Any], errand: Errand) -> Report:
    names = (("name", "Name"), ("email", "E-mail"), ("phone", "Phone"), ("address", "Address"))
    lines = [f"- {label}: {customer[name]}" for name, label in names if customer.get(name)]
    return Report("\n".join([f"This is what we have of you, customer {customer['id']}:", "", *lines]))


SAY: dict[str, Callable[[Any, Errand], Report]] = {
    "order_status": say_order,
    "list_orders": say_orders,
    "invoices": say_invoices,
    "balance": say_balance,
    "check_stock": say_stock,
    "customer_tickets": say_tickets,
    "look_up_customer": say_customer,
}


def money(amount: Any, currency: Any) -> str:
    return f"€{amount}" if currency == "EUR" else f"{amount} {currency}"


def day(text: Any) -> str:
    """A date as people write it; what is none stays as it is."""
    try:
        moment = date.fromisoformat(str(text)[:10])
    except ValueError:
        return str(text)
    return f"{moment.day} {moment:%B %Y}"
