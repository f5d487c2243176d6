"""The customer's own record and tickets (CRM_URL)."""

import re
from typing import Annotated, Any

from agent_app.agent.events import TurnContext
from agent_app.tools.backend import Refusal, crm
from agent_app.tools.failures import NotAllowed
from agent_app.tools.registry import tool
from agent_app.tools.shapes import Shape, customer_path, nonsense, picked, rows, text

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]{2,}")
PHONE = re.compile(r"\+?[\d\s()/.-]{6,30}")
REASONS = {"email_taken": "This e-mail address is in use already."}  # the back end's: what the customer reads
CONTACT: dict[str, Shape] = dict.fromkeys(("name", "email", "phone", "address"), text)


@tool(needs_identity=True, backend="crm")
async def look_up_customer(context: TurnContext) -> dict[str, Any]:
    """The contact details that the company has of this customer."""
    customer = picked(await crm.get(context, customer_path(context)), {"id": text}, CONTACT)
    if str(context.user_id).casefold() not in {customer["id"].casefold(), customer.get("email", "").casefold()}:
        raise nonsense("another customer than was asked for")
    return customer


@tool(needs_identity=True, backend="crm")
async def customer_tickets(context: TurnContext) -> list[dict[str, Any]]:
    """This customer's requests to the company, newest first, with their status."""
    found = rows(await crm.get(context, f"{customer_path(context)}/tickets"))
    return [picked(row, dict.fromkeys(("number", "subject", "status"), text), {"opened_on": text}) for row in found]


async def contact_change(context: TurnContext, email: str = "", phone: str = "") -> str:
    email, phone = email.strip(), phone.strip()
    if not email and not phone:
        raise NotAllowed("Give a new e-mail address or a new phone number.")
    if email and not EMAIL.fullmatch(email):
        raise NotAllowed(said=f"“{email[:80]}” does not look like an e-mail address.")
    if phone and not PHONE.fullmatch(phone):
        raise NotAllowed(said=f"“{phone[:40]}” does not look like a phone number.")
    parts = [f"e-mail address to {email}"] * bool(email) + [f"phone number to {phone}"] * bool(phone)
    return f"Change your {' and your '.join(parts)}."


def bare(contact: str) -> str:
    """What two ways of writing an address or a phone number have in common."""
    return "".join(contact.split()).casefold() if "@" in contact else re.sub(r"\D", "", contact)


@tool(writes=True, needs_identity=True, backend="crm", confirm=contact_change, private=("email", "phone"))
async def update_contact(
    context: TurnContext,
    email: Annotated[str, "the new e-mail address; leave it out to keep the old one"] = "",
    phone: Annotated[str, "the new phone number; leave it out to keep the old one"] = "",
) -> dict[str, Any]:
    """Changes the e-mail address or the phone number that the company has of this customer."""
    change = {name: value.strip() for name, value in (("email", email), ("phone", phone)) if value.strip()}
    try:
        answer = await crm.write(context, "PATCH", customer_path(context), change)
    except Refusal as refusal:
        raise NotAllowed(f"The back end refuses: {refusal.reason}.", REASONS.get(refusal.reason, "")) from None
    now = picked(answer, {"id": text}, CONTACT)
    if any(bare(now.get(name, "")) != bare(value) for name, value in change.items()):
        raise nonsense("the contact is not changed after the change")
    changed = " and ".join(f"{name} is now {now.get(name)}" for name in change)
    return {**now, "said": f"Your {changed}.".replace("email", "e-mail address").replace("phone", "phone number")}


TOOLS = (look_up_customer, customer_tickets, update_contact)
