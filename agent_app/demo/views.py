"""The demo shop's REST doors, `/demo/backend/{crm,billing,inventory}/…`: what docs/adding-a-tool.md asks of a back end.

Every answer says that it is made up (`X-Demo-Backend`), and none is given while the shop is shut.
"""

import json
from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from agent_app import demo
from agent_app.demo import books
from agent_app.models.demo import DemoRecord, DemoWrite

RETURN_DAYS = 30
MOST_BODY = 16 * 1024  # bytes


class Refuse(Exception):
    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message


def answer(data: Any, status: int = 200) -> JsonResponse:
    return JsonResponse(data, status=status, headers={"X-Demo-Backend": "made-up data"}, safe=False)


def door(*methods: str) -> Callable[[Callable[..., Any]], Callable[..., JsonResponse]]:
    """A view that is there while the shop is open, for whoever has its key."""

    def decorate(view: Callable[..., Any]) -> Callable[..., JsonResponse]:
        @csrf_exempt
        @require_http_methods(methods)
        @wraps(view)
        def opened(request: HttpRequest, *args: str, **kwargs: str) -> JsonResponse:
            if not demo.is_open():
                raise Http404
            key = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not constant_time_compare(key, demo.access_key()):
                return answer({"error": "unauthorized", "message": "Send the demo shop's key as bearer."}, 401)
            books.ensure()
            try:
                return answer(view(request, *args, **kwargs))
            except DemoRecord.DoesNotExist:
                return answer({"error": "not_found", "message": "There is no such thing."}, 404)
            except Refuse as refused:
                return answer({"error": refused.error, "message": refused.message}, refused.status)

        return opened

    return decorate


def written(request: HttpRequest, do: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Does the write and keeps its answer, in one transaction; the same key again gets that answer.

    Raises Refuse without a key, for a key that stood for another request, and what `do` refuses (which is not kept).
    """
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= 100:
        raise Refuse(400, "no_key", "A write needs an Idempotency-Key of 1 to 100 characters.")
    body = parsed(request)
    asked = f"{request.method} {request.path} {json.dumps(body, sort_keys=True)}"
    with transaction.atomic():
        # Taken first: of two requests at once the second waits here, and then finds the first one's answer.
        kept, new = DemoWrite.objects.select_for_update().get_or_create(
            key=key, defaults={"request": asked, "status": 200, "answer": {}}
        )
        if not new:
            if kept.request != asked:
                raise Refuse(422, "key_reused", "This Idempotency-Key stood for another request.")
            return dict(kept.answer)
        kept.answer = do(body)
        kept.save(update_fields=["answer"])
    return dict(kept.answer)


def parsed(request: HttpRequest) -> dict[str, Any]:
    if len(request.body) > MOST_BODY:
        raise Refuse(413, "too_large", "Send less.")
    try:
        body = json.loads(request.body or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refuse(400, "bad_json", "Send one JSON object.")
    return body


def one(kind: str, number: str) -> DemoRecord:
    return DemoRecord.objects.get(kind=kind, number=number)


def customer_named(ref: str) -> DemoRecord:
    """By number or by e-mail address: a website may know its customers by either."""
    if "@" in ref:
        return DemoRecord.objects.get(kind="customer", data__email=ref)
    return one("customer", ref)


def of_customer(kind: str, ref: str) -> list[dict[str, Any]]:
    """Newest first."""
    records = DemoRecord.objects.filter(kind=kind, owner=customer_named(ref).number).order_by("-number")
    return [record.to_wire() for record in records]


# ---- all of it, for simulations and for whoever shows the shop ----


@door("GET", "DELETE")
def every_record(request: HttpRequest) -> dict[str, Any]:
    """The books as they are; DELETE sets them back to their first day."""
    if request.method == "DELETE":
        books.reset()
    records = DemoRecord.objects.order_by("kind", "number")
    return {"results": [{"kind": r.kind, "number": r.number, "owner": r.owner, "data": r.to_wire()} for r in records]}


# ---- crm ----


@door("GET", "PATCH")
def customer(request: HttpRequest, ref: str) -> dict[str, Any]:
    if request.method == "GET":
        return customer_named(ref).to_wire()

    def change(body: dict[str, Any]) -> dict[str, Any]:
        record = customer_named(ref)
        taken = DemoRecord.objects.filter(kind="customer", data__email=body.get("email") or "").exclude(pk=record.pk)
        if taken.exists():  # a website may know its customers by their address
            raise Refuse(409, "email_taken", "Another customer has this e-mail address.")
        for name in ("email", "phone"):
            if isinstance(body.get(name), str) and body[name]:
                record.data[name] = body[name]
        record.note("contact changed")
        record.save()
        return record.to_wire()

    return written(request, change)


@door("GET")
def tickets(request: HttpRequest, ref: str) -> dict[str, Any]:
    return {"results": of_customer("ticket", ref)}


# ---- billing ----


@door("GET")
def invoices(request: HttpRequest, ref: str) -> dict[str, Any]:
    return {"results": of_customer("invoice", ref)}


@door("GET")
def balance(request: HttpRequest, ref: str) -> dict[str, Any]:
    open_ones = [invoice for invoice in of_customer("invoice", ref) if invoice["status"] == "open"]
    amount = sum(float(invoice["amount"]) for invoice in open_ones)
    return {"amount": f"{amount:.2f}", "currency": "EUR", "open": [invoice["number"] for invoice in open_ones]}


# ---- inventory ----


@door("GET")
def orders(request: HttpRequest, ref: str) -> dict[str, Any]:
    return {"results": of_customer("order", ref)}


@door("GET")
def order(request: HttpRequest, number: str) -> dict[str, Any]:
    return one("order", number).to_wire()


@door("POST")
def cancel(request: HttpRequest, number: str) -> dict[str, Any]:
    def do(body: dict[str, Any]) -> dict[str, Any]:
        record = order_in(number, "received")
        record.data["status"] = "cancelled"
        record.note("cancelled")
        record.save()
        return record.to_wire()

    return written(request, do)


@door("POST")
def address(request: HttpRequest, number: str) -> dict[str, Any]:
    def do(body: dict[str, Any]) -> dict[str, Any]:
        record = order_in(number, "received")
        if not isinstance(body.get("address"), str) or not body["address"].strip():
            raise Refuse(400, "no_address", "Send the new address as a text.")
        record.data["address"] = body["address"]
        record.note("address changed")
        record.save()
        return record.to_wire()

    return written(request, do)


@door("POST")
def send_back(request: HttpRequest, number: str) -> dict[str, Any]:
    def do(body: dict[str, Any]) -> dict[str, Any]:
        record = order_in(number, "delivered")
        if (date.today() - date.fromisoformat(record.data["delivered_on"])).days > RETURN_DAYS:
            raise Refuse(409, "too_late", f"It was delivered more than {RETURN_DAYS} days ago.")
        record.data["status"] = "return_requested"
        record.data["return"] = {"number": f"R-{number}", "reason": str(body.get("reason", ""))[:500]}
        record.note("return requested")
        record.save()
        return record.to_wire()

    return written(request, do)


def order_in(number: str, status: str) -> DemoRecord:
    """The order, locked; Refuse with its own status as the reason when it is another."""
    record = DemoRecord.objects.select_for_update().get(kind="order", number=number)
    if record.data["status"] != status:
        raise Refuse(409, str(record.data["status"]), f"The order is {record.data['status']}.")
    return record


@door("GET")
def products(request: HttpRequest) -> dict[str, Any]:
    """Those whose name or number holds a word of `q`, the most words first; all of them without."""
    words = {word for word in request.GET.get("q", "").lower().split() if len(word) > 2}
    found = []
    for record in DemoRecord.objects.filter(kind="product").order_by("number"):
        text = f"{record.data['name']} {record.number}".lower()
        hits = sum(word.rstrip("s") in text for word in words)
        if hits or not words:
            found.append((-hits, record.number, record.to_wire()))
    return {"results": [data for _, _, data in sorted(found, key=lambda each: each[:2])][:20]}


@door("GET")
def product(request: HttpRequest, sku: str) -> dict[str, Any]:
    return one("product", sku).to_wire()
