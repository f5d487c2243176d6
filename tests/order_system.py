"""A company's order system for tests: real HTTP on loopback, in threads of its own, doing what its script says.

It keeps Idempotency-Keys as docs/adding-a-tool.md asks, and counts what really happened.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ORDER = {
    "number": "1050",
    "customer_id": "C-1001",
    "customer_email": "ana@example.com",
    "status": "received",
    "items": [{"sku": "NW-108", "name": "Aran wool beanie", "quantity": 2, "price": "35.00"}],
    "total": "70.00",
    "currency": "EUR",
    "internal_note": "likes to return things",
}
Answer = tuple[int, dict[str, str], bytes]


def as_json(data: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(data).encode()


def hang(seconds: float) -> Callable[[], Answer]:
    def answer() -> Answer:
        time.sleep(seconds)
        return as_json({})

    return answer


class OrderSystem:
    """`script`: answers (or functions that make one) given before the order system's own, one a request."""

    def __init__(self) -> None:
        self.script: list[Answer | Callable[[], Answer]] = []
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, key
        self.orders = {
            "1050": dict(ORDER),
            "1043": {**ORDER, "number": "1043", "customer_id": "C-1002", "customer_email": "ben@example.com"},
        }
        self.effects: list[str] = []  # the keys under which something was changed
        self.kept: dict[str, Answer] = {}
        self._lock = threading.Lock()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer()

            def do_PATCH(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer()

            def answer(self) -> None:
                status, headers, body = backend.answer(self.command, self.path, self.headers.get("Idempotency-Key"))
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    self.close_connection = True  # who asked has died

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, key: str | None) -> Answer:
        with self._lock:
            self.requests.append((method, path, key))
            scripted = self.script.pop(0) if self.script else None
        if scripted is not None:
            return scripted() if callable(scripted) else scripted
        with self._lock:
            return self.own_answer(method, path, key)

    def own_answer(self, method: str, path: str, key: str | None) -> Answer:
        parts = path.strip("/").split("/")
        order = self.orders.get(parts[1]) if parts[0] == "orders" and len(parts) > 1 else None
        if order is None:
            return as_json({"error": "not_found"}, 404)
        if method == "GET":
            return as_json(order)
        assert key, "a write has its key"
        if key not in self.kept:
            self.kept[key] = self.change(order, key)
        return self.kept[key]

    def change(self, order: dict[str, Any], key: str) -> Answer:
        if order["status"] != "received":
            return as_json({"error": order["status"], "message": "it is not as it was"}, 409)
        order["status"] = "cancelled"
        self.effects.append(key)
        return as_json(order)
