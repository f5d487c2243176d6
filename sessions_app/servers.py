"""Where the session store's Redis or Valkey is, and how to reach it: by TCP, TLS or a unix socket."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import parse_url


@dataclass(frozen=True, slots=True)
class Server:
    """Hashable: stores of the same server and login share their connections."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    tls: tuple[tuple[str, str], ...] | None = None
    connect_timeout: float = 1.0
    command_timeout: float = 2.0

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}/{self.db}"

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any] | None = None) -> Self:
        """ImproperlyConfigured when `url` is none. `options` as django-redis has them."""
        options = options or {}
        try:
            parts: dict[str, Any] = dict(parse_url(url))
        except ValueError as error:
            raise ImproperlyConfigured(f"REDIS_URL: {error}") from None
        tls = None
        if "connection_class" in parts and "path" not in parts:
            tls = tuple(sorted((name, str(value)) for name, value in parts.items() if name.startswith("ssl_")))
        return cls(
            host=parts.get("host", "localhost"),
            port=parts.get("port", 6379),
            path=parts.get("path", ""),
            db=int(parts.get("db", 0)),
            username=parts.get("username") or options.get("USERNAME") or "",
            password=parts.get("password") or options.get("PASSWORD") or "",
            tls=tls,
            connect_timeout=float(options.get("SOCKET_CONNECT_TIMEOUT", 1.0)),
            command_timeout=float(options.get("SOCKET_TIMEOUT", 2.0)),
        )

    async def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        if self.path:
            await loop.create_unix_connection(protocol, self.path)
        else:
            context = None if self.tls is None else tls_context(dict(self.tls))
            await loop.create_connection(protocol, self.host, self.port, ssl=context)

    def login(self) -> list[tuple[str, ...]]:
        """The commands with which a connection begins."""
        commands: list[tuple[str, ...]] = []
        if self.password:
            commands.append(("AUTH", self.username or "default", self.password))
        if self.db:
            commands.append(("SELECT", str(self.db)))
        return commands


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """Of the query options of a rediss:// URL, which are redis-py's."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    if options.get("ssl_check_hostname", "").lower() in ("false", "0", "no"):
        context.check_hostname = False
    if options.get("ssl_cert_reqs") in ("none", "CERT_NONE"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
