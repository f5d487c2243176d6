"""The demo shop's books, read over its own REST door: what a run was to change, and what it did change."""

from dataclasses import dataclass
from typing import Any

import httpx

from agent_app import demo

PRIVATE = {"customer": ("name", "email", "phone", "address"), "order": ("tracking",), "ticket": ("subject",)}
Books = dict[str, dict[str, Any]]  # "order 1050": its owner and its fields


class ShopShut(Exception):
    """The desk has no demo shop that opens to this process's SECRET_KEY."""


@dataclass(frozen=True, slots=True)
class Shop:
    desk_url: str

    async def books(self) -> Books:
        async with self._http() as http:
            return {f"{row['kind']} {row['number']}": row for row in self._taken(await http.get(self._door))["results"]}

    async def first_day(self) -> None:
        """Everything as it was before anybody changed it."""
        async with self._http() as http:
            self._taken(await http.delete(self._door))

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers={"Authorization": f"Bearer {demo.access_key()}"}, timeout=30, trust_env=False)

    @property
    def _door(self) -> str:
        return f"{self.desk_url}/demo/backend/books"

    def _taken(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code in (401, 404):
            raise ShopShut(
                f"{self.desk_url} has no demo shop that this process may read: it needs DEMO_BACKEND=on (or serve "
                "--prepare) there, and the same SECRET_KEY here"
            )
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


def differences(before: Books, after: Books, wanted: dict[str, dict[str, Any]]) -> list[str]:
    """What was changed otherwise than wanted, in words; a field that was to change and did not is one, too."""
    found = []
    for name in sorted(before.keys() | after.keys() | wanted.keys()):
        old, new = before.get(name, {}).get("data", {}), after.get(name, {}).get("data", {})
        expected = {**old, **wanted.get(name, {})}
        for field in sorted(old.keys() | new.keys() | expected.keys()):
            if new.get(field) != expected.get(field):
                found.append(f"{name}: {field} is {new.get(field)!r}, and not {expected.get(field)!r}")
    return found


def secrets_of_others(books: Books, customer: str | None) -> dict[str, str]:
    """What nobody but its owner may read, with whose it is. `customer` is a number or an e-mail address, proven."""
    own = {row["number"] for row in books.values() if row["kind"] == "customer" and customer in row_names(row)}
    found = {}
    for name, row in books.items():
        if row["owner"] and row["owner"] not in own:
            for field in PRIVATE.get(row["kind"], ()):
                if row["data"].get(field):
                    found[str(row["data"][field])] = f"the {field} of {name}"
    return found


def row_names(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["number"], row["data"].get("email")
