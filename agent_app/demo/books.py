"""What is in the demo shop's books on the first day: its facts agree with the sample articles and the demo page."""

from datetime import date, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from agent_app.models.demo import DemoRecord, DemoWrite

SHOPS = ("warehouse", "Galway", "Dublin", "Cork", "Belfast")
DELIVERY = "4.95"

PRODUCTS = (
    # sku, name, price, stock in the warehouse and in each shop
    ("NW-101", "Slieve down jacket", "249.00", (34, 3, 5, 2, 1)),
    ("NW-102", "Atlantic shell", "289.00", (21, 2, 4, 0, 3)),
    ("NW-103", "Burren hiking boot", "219.00", (17, 6, 3, 4, 2)),
    ("NW-104", "Lough tent for two", "379.00", (0, 1, 0, 0, 0)),
    ("NW-105", "Galtee 38 backpack", "159.00", (12, 1, 2, 2, 0)),
    ("NW-106", "Kerry −7 °C sleeping bag", "329.00", (0, 0, 0, 0, 0)),
    ("NW-107", "Claddagh stove set", "79.00", (58, 4, 6, 3, 5)),
    ("NW-108", "Aran wool beanie", "35.00", (140, 12, 9, 7, 8)),
)
CUSTOMERS = (
    ("C-1001", "Ana Costa", "ana@example.com", "+353 91 555 0101", "7 Quay Street, Galway, H91 A1B2"),
    ("C-1002", "Ben Doyle", "ben@example.com", "+353 1 555 0102", "22 Capel Street, Dublin, D01 C3D4"),
    ("C-1003", "Chiara Rossi", "chiara@example.com", "+353 21 555 0103", "3 Oliver Plunkett Street, Cork, T12 E5F6"),
    ("C-1004", "Declan Walsh", "declan@example.com", "+44 28 5550 0104", "15 Ann Street, Belfast, BT1 4EF"),
)
ORDERS = (
    # number, customer, status, ordered and delivered so many days ago, tracking, items (sku, quantity)
    ("1042", "C-1001", "shipped", 3, None, "NW-TRACK-1042", (("NW-101", 1), ("NW-108", 1))),
    ("1050", "C-1001", "received", 0, None, None, (("NW-108", 2),)),
    ("1053", "C-1001", "received", 0, None, None, (("NW-105", 1),)),
    ("1049", "C-1001", "packed", 1, None, None, (("NW-107", 1),)),
    ("1031", "C-1001", "delivered", 13, 9, "NW-TRACK-1031", (("NW-103", 1),)),
    ("0988", "C-1001", "delivered", 90, 86, "NW-TRACK-0988", (("NW-102", 1),)),
    ("1043", "C-1002", "shipped", 2, None, "NW-TRACK-1043", (("NW-102", 1),)),
    ("1051", "C-1002", "received", 0, None, None, (("NW-107", 1), ("NW-108", 1))),
    ("1030", "C-1002", "delivered", 15, 11, "NW-TRACK-1030", (("NW-105", 1),)),
    ("1044", "C-1003", "packed", 1, None, None, (("NW-104", 1),)),
    ("1052", "C-1003", "received", 0, None, None, (("NW-103", 1),)),
    ("1029", "C-1004", "delivered", 20, 16, "NW-TRACK-1029", (("NW-106", 1),)),
    ("1054", "C-1004", "received", 0, None, None, (("NW-101", 1),)),
)
TICKETS = (
    ("T-501", "C-1001", "Zip of a jacket to be repaired", "open", 6),
    ("T-488", "C-1001", "Question about a gift card", "closed", 40),
    ("T-502", "C-1002", "Parcel left with a neighbour", "closed", 20),
)


def ensure() -> None:
    """Fills the books where they are empty. Several instances may do so at once."""
    if not DemoRecord.objects.exists():
        DemoRecord.objects.bulk_create(first_day(date.today()), ignore_conflicts=True)


def reset() -> None:
    """The first day again, whatever was done since."""
    with transaction.atomic():
        DemoWrite.objects.all().delete()
        DemoRecord.objects.all().delete()
        DemoRecord.objects.bulk_create(first_day(date.today()))


def restore(user_id: str) -> None:
    """This customer's own records are as on the first day: what was changed in a chat is forgotten with the chats."""
    at_first = [number for number, _, email, *_ in CUSTOMERS if email == user_id]  # a chat may have changed it
    named = Q(number=user_id) | Q(data__email=user_id) | Q(number__in=at_first)
    with transaction.atomic():
        owners = set(DemoRecord.objects.filter(named, kind="customer").values_list("number", flat=True))
        DemoRecord.objects.filter(owner__in=owners).delete()
        DemoRecord.objects.bulk_create(each for each in first_day(date.today()) if each.owner in owners)


def first_day(today: date) -> list[DemoRecord]:
    names = {sku: (name, price) for sku, name, price, _ in PRODUCTS}
    of = {customer[0]: customer for customer in CUSTOMERS}
    records = [product(*values) for values in PRODUCTS] + [customer(*values) for values in CUSTOMERS]
    for number, owner, status, ordered, delivered, tracking, items in ORDERS:
        lines = [{"sku": sku, "name": names[sku][0], "quantity": count, "price": names[sku][1]} for sku, count in items]
        placed = today - timedelta(days=ordered)
        data = {
            "number": number,
            "customer_id": owner,
            "customer_email": of[owner][2],
            "status": status,
            "placed_on": placed.isoformat(),
            "items": lines,
            "total": total(lines),
            "currency": "EUR",
            "address": of[owner][4],
            "carrier": "Atlantic Parcels" if tracking else None,
            "tracking": tracking,
            "expected_on": (placed + timedelta(days=4)).isoformat() if status != "delivered" else None,
            "delivered_on": (today - timedelta(days=delivered)).isoformat() if delivered is not None else None,
        }
        records.append(DemoRecord(kind="order", number=number, owner=owner, data=data))
        if status in ("shipped", "delivered"):
            records.append(invoice(data, placed, paid=number not in {"1042", "1043"}))
    for number, owner, subject, status, ago in TICKETS:
        opened = (today - timedelta(days=ago)).isoformat()
        data = {"number": number, "subject": subject, "status": status, "opened_on": opened}
        records.append(DemoRecord(kind="ticket", number=number, owner=owner, data=data))
    return records


def total(lines: list[dict[str, Any]]) -> str:
    cents = sum(round(float(line["price"]) * 100) * line["quantity"] for line in lines)
    if cents < 6000:  # standard delivery is free from €60
        cents += round(float(DELIVERY) * 100)
    return f"{cents / 100:.2f}"


def product(sku: str, name: str, price: str, counts: tuple[int, ...]) -> DemoRecord:
    stock = [{"place": place, "count": count} for place, count in zip(SHOPS, counts, strict=True)]
    return DemoRecord(
        kind="product",
        number=sku,
        data={"sku": sku, "name": name, "price": price, "currency": "EUR", "stock": stock},
    )


def customer(number: str, name: str, email: str, phone: str, address: str) -> DemoRecord:
    data = {"id": number, "name": name, "email": email, "phone": phone, "address": address}
    return DemoRecord(kind="customer", number=number, owner=number, data=data)


def invoice(order: dict[str, Any], placed: date, paid: bool) -> DemoRecord:
    data = {
        "number": f"INV-{order['number']}",
        "order": order["number"],
        "issued_on": placed.isoformat(),
        "due_on": (placed + timedelta(days=14)).isoformat(),
        "amount": order["total"],
        "currency": "EUR",
        "status": "paid" if paid else "open",
    }
    return DemoRecord(kind="invoice", number=data["number"], owner=order["customer_id"], data=data)
