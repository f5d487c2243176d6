"""The customer's invoices and what is open (BILLING_URL)."""

from typing import Annotated, Any

from agent_app.agent.events import TurnContext
from agent_app.tools.backend import billing
from agent_app.tools.registry import tool
from agent_app.tools.shapes import Shape, amount, customer_path, number_in, picked, rows, text, texts

INVOICE: dict[str, Shape] = {"number": text, "amount": amount, "currency": text, "status": text}


@tool(needs_identity=True, backend="billing")
async def invoices(
    context: TurnContext, order_number: Annotated[str, "only the invoice of this order; empty for all"] = ""
) -> list[dict[str, Any]]:
    """This customer's invoices, newest first: number, order, amount, when it is due, and whether it is paid."""
    found = rows(await billing.get(context, f"{customer_path(context)}/invoices"))
    every = [picked(row, INVOICE, dict.fromkeys(("order", "issued_on", "due_on"), text)) for row in found]
    wanted = number_in(order_number) if order_number.strip() else None
    return [invoice for invoice in every if wanted in (None, str(invoice.get("order")))]


@tool(needs_identity=True, backend="billing")
async def balance(context: TurnContext) -> dict[str, Any]:
    """What this customer owes the company, and which invoices are open."""
    data = await billing.get(context, f"{customer_path(context)}/balance")
    return picked(data, {"amount": amount, "currency": text}, {"open": texts})


TOOLS = (invoices, balance)
