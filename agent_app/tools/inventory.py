"""Orders, products and stock (INVENTORY_URL)."""

from typing import Annotated, Any
from urllib.parse import quote

from agent_app.agent import catalogue
from agent_app.agent.events import TurnContext
from agent_app.tools.backend import Refusal, inventory
from agent_app.tools.failures import NotAllowed, NotFound
from agent_app.tools.registry import tool
from agent_app.tools.shapes import (
    Shape,
    amount,
    customer_path,
    is_theirs,
    items,
    money,
    nonsense,
    number_in,
    picked,
    returned,
    rows,
    stock,
    text,
)

NUMBER = Annotated[str, "the order's number, such as 1042"]
NEEDED: dict[str, Shape] = {"number": text, "status": text, "items": items, "total": amount, "currency": text}
ALSO: dict[str, Shape] = dict.fromkeys(
    ("placed_on", "expected_on", "delivered_on", "carrier", "tracking", "address"), text
) | {"return": returned}
PRODUCT: dict[str, Shape] = {"sku": text, "name": text, "price": amount, "currency": text}
# What an order is after a change, so that an answer of a back end that did nothing is not taken for the deed.
CHANGED = {"cancel": "cancelled", "return": "return_requested"}
# Why a change is refused, by the back end's reason or the order's own status: what the customer reads.
REASONS = {
    "packed": "Order {number} is packed already, so it cannot be changed or cancelled any more.",
    "shipped": "Order {number} has been shipped already, so it cannot be changed or cancelled any more. You can refuse "
    "the parcel, or send it back free of charge.",
    "delivered": "Order {number} has been delivered already. You can send it back within 30 days.",
    "cancelled": "Order {number} is cancelled already.",
    "return_requested": "A return of order {number} is under way already.",
    "received": "Order {number} has not been delivered yet. It can still be cancelled.",
    "too_late": "Order {number} was delivered more than 30 days ago, so I cannot return it here.",
}
NOT_RETURNABLE = {
    "shipped": "Order {number} is still on its way. Once it is there, you can send it back.",
    "packed": "Order {number} is packed and will be shipped soon. Once it is there, you can send it back.",
}


@tool(needs_identity=True, backend="inventory")
async def list_orders(context: TurnContext) -> list[dict[str, Any]]:
    """This customer's orders, newest first, with their status."""
    found = rows(await inventory.get(context, f"{customer_path(context)}/orders"))
    return [picked(row, NEEDED, ALSO) for row in found if is_theirs(context, row)]


@tool(needs_identity=True, backend="inventory")
async def order_status(context: TurnContext, order_number: NUMBER) -> dict[str, Any]:
    """How one order of this customer stands: status, items, carrier, tracking number, expected day of delivery."""
    return await own_order(context, order_number)


async def own_order(context: TurnContext, order_number: str) -> dict[str, Any]:
    """Raises NotFound for one that does not exist and for one of somebody else, alike; Away for what is no order, or
    another than was asked for.
    """
    number = number_in(order_number)
    unknown = NotFound(f"There is no order {number} of this customer.", catalogue.NO_ORDER.format(number=number))
    try:
        data = await inventory.get(context, f"orders/{quote(number, safe='')}")
    except NotFound:
        raise unknown from None
    if not is_the_same(data, number):
        raise nonsense("another order than was asked for")
    if not is_theirs(context, data):
        raise unknown
    return picked(data, NEEDED, ALSO)


def is_the_same(data: Any, number: str) -> bool:
    return str(picked(data, {"number": text})["number"]).casefold() == number.casefold()


def refused(reason: str, number: str) -> NotAllowed:
    said = REASONS.get(reason, "").format(number=number)
    return NotAllowed(said or f"The order system refuses: {reason}.", said)


def described(order: dict[str, Any]) -> str:
    items = ", ".join(f"{item.get('quantity', 1)} × {item['name']}" for item in order["items"])
    return f"order {order['number']} ({items}; {money(order['total'], order['currency'])})"


async def change(context: TurnContext, number: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """One write to an order of this customer. The order is looked up first: the look-up is the permission.

    Raises Away where what comes back is not that order as it should now be: nobody knows then whether it was done.
    """
    order = await own_order(context, number)
    try:
        answer = await inventory.write(context, "POST", f"orders/{quote(str(order['number']), safe='')}/{what}", body)
    except Refusal as refusal:
        raise refused(refusal.reason, order["number"]) from None
    now = picked(answer, {"number": text, "status": text}, {"address": text})
    if not is_the_same(answer, order["number"]) or now["status"] != CHANGED.get(what, now["status"]):
        raise nonsense("the order is not changed after the change")
    return {**order, **now}


async def cancellation(context: TurnContext, order_number: str) -> str:
    order = await own_order(context, order_number)
    if order["status"] != "received":
        raise refused(order["status"], order["number"])
    return f"Cancel {described(order)}. You get the money back the way you paid."


@tool(writes=True, needs_identity=True, backend="inventory", confirm=cancellation)
async def cancel_order(context: TurnContext, order_number: NUMBER) -> dict[str, Any]:
    """Cancels an order that is not packed yet."""
    order = await change(context, order_number, "cancel", {})
    said = f"Order {order['number']} is cancelled. You get the money back the way you paid, within three working days."
    return {"number": order["number"], "status": "cancelled", "said": said}


async def sending_back(context: TurnContext, order_number: str, reason: str = "") -> str:
    order = await own_order(context, order_number)
    if order["status"] != "delivered":
        said = NOT_RETURNABLE.get(order["status"], REASONS.get(order["status"], "")).format(number=order["number"])
        raise NotAllowed(said or "This order cannot be returned.", said)
    return f"Return {described(order)}. You get the money back once we have checked what comes back."


@tool(writes=True, needs_identity=True, backend="inventory", confirm=sending_back, private=("reason",))
async def return_order(
    context: TurnContext, order_number: NUMBER, reason: Annotated[str, "why, in the customer's words"] = ""
) -> dict[str, Any]:
    """Begins the return of an order that was delivered in the last 30 days; the refund follows it."""
    order = await change(context, order_number, "return", {"reason": reason})
    said = (
        f"The return of order {order['number']} is under way. Print the label under My account › Orders, and hand the "
        "parcel in at any pick-up point."
    )
    return {"number": order["number"], "status": "return_requested", "said": said}


async def address_change(context: TurnContext, order_number: str, address: str) -> str:
    order = await own_order(context, order_number)
    if order["status"] != "received":
        raise refused(order["status"], order["number"])
    address = " ".join(address.split())
    if not 8 <= len(address) <= 200:
        raise NotAllowed(said="Please write the whole address: street, number, town and postcode.")
    return f"Send {described(order)} {catalogue.TO_THIS_ADDRESS} {address}"


@tool(writes=True, needs_identity=True, backend="inventory", confirm=address_change, private=("address",))
async def change_delivery_address(
    context: TurnContext, order_number: NUMBER, address: Annotated[str, "the whole new address, on one line"]
) -> dict[str, Any]:
    """Changes where an order that is not packed yet is delivered to."""
    address = " ".join(address.split())
    order = await change(context, order_number, "address", {"address": address})
    return {
        "number": order["number"],
        "address": order.get("address", address),
        "said": f"Order {order['number']} will be delivered to {order.get('address', address)}.",
    }


@tool(backend="inventory")
async def search_products(
    context: TurnContext, query: Annotated[str, "words of the product's name; empty for all"] = ""
) -> list[dict[str, Any]]:
    """Products by name: number (sku), name and price."""
    found = rows(await inventory.get(context, "products", q=query[:200]))
    return [picked(row, PRODUCT) for row in found]


@tool(backend="inventory")
async def check_stock(
    context: TurnContext, product: Annotated[str, "a product's number (sku) or words of its name"]
) -> dict[str, Any]:
    """A product with its price and how many there are, in the warehouse and in each shop."""
    found = rows(await inventory.get(context, "products", q=product[:200]))
    if not found:
        raise NotFound(f"There is no product like {product[:80]!r}.", "I find no such product in our shop.")
    return picked(found[0], PRODUCT, {"stock": stock})


TOOLS = (
    *(list_orders, order_status, search_products, check_stock),
    *(cancel_order, return_order, change_delivery_address),
)
