"""How settings.py reads the environment: typed, bounded, each refusal one line that says what to write."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from dotenv import dotenv_values


class WrongSetting(ImproperlyConfigured):
    """A setting's value cannot be used. The text names the setting, its value and the bound."""


class Environment:
    """The process's environment over a `.env` file; the environment wins.

    `known` collects every name that was asked for with its default and its bounds, so that a test can hold the
    README's table to it.
    """

    def __init__(self, dotenv: Path, environ: Mapping[str, str] = os.environ) -> None:
        written = dotenv_values(dotenv) if dotenv.is_file() else {}
        self._values = {name: value for name, value in written.items() if value is not None}
        self._values.update(environ)
        self.known: dict[str, tuple[str, str]] = {}

    def text(self, name: str, default: str = "", bounds: str = "") -> str:
        self.known[name] = (default, bounds)
        return self._values.get(name, default).strip()

    def given(self, name: str) -> bool:
        """True when the operator wrote the setting and did not leave it empty."""
        return bool(self._values.get(name, "").strip())

    def flag(self, name: str, default: bool) -> bool:
        raw = self.text(name, str(default).lower(), "true or false").lower()
        if raw in {"1", "true", "yes", "on"}:
            return True
        if raw in {"0", "false", "no", "off"}:
            return False
        raise WrongSetting(f"{name}={raw!r} is not a yes or no: write true or false.")

    def whole(self, name: str, default: int, least: int, most: int | None = None) -> int:
        """A whole number within [least, most]; `most=None` is without an upper bound."""
        bound = f"at least {least}" if most is None else f"from {least} to {most}"
        raw = self.text(name, str(default), bound)
        if not re.fullmatch(r"[+-]?\d{1,18}", raw):
            raise WrongSetting(f"{name}={raw!r} is not a whole number: write one {bound}.")
        value = int(raw)
        if value < least or (most is not None and value > most):
            raise WrongSetting(f"{name}={value} is out of bounds: write a whole number {bound}.")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number within [least, most]."""
        bound = f"from {least} to {most}"
        raw = self.text(name, str(default), bound)
        try:
            value = float(raw)
        except ValueError:
            raise WrongSetting(f"{name}={raw!r} is not a number: write one {bound}.") from None
        if not least <= value <= most:
            raise WrongSetting(f"{name}={raw} is out of bounds: write a number {bound}.")
        return value

    def rate(self, name: str, default: str) -> int:
        """`N/min`, N at least 1: the number of events a minute."""
        raw = self.text(name, default, "N/min, N at least 1")
        found = re.fullmatch(r"(\d{1,9})\s*/\s*min", raw)
        if not found or int(found[1]) < 1:
            raise WrongSetting(f"{name}={raw!r} is not a rate: write N/min with N at least 1, such as {default}.")
        return int(found[1])

    def choice(self, name: str, default: str, options: tuple[str, ...]) -> str:
        bound = f"one of {', '.join(options)}"
        raw = self.text(name, default, bound)
        if raw not in options:
            raise WrongSetting(f"{name}={raw!r} is unknown: write {bound}.")
        return raw

    def items(self, name: str, default: str = "") -> list[str]:
        """A comma separated list; blanks are dropped."""
        return [item.strip() for item in self.text(name, default).split(",") if item.strip()]

    def addresses(self, name: str, default: str = "") -> list[str]:
        """A comma separated list of IP addresses."""
        found = self.items(name, default)
        for address in found:
            try:
                ip_address(address)
            except ValueError:
                raise WrongSetting(f"{name}={address!r} is not an address: write IP addresses with commas.") from None
        return found
