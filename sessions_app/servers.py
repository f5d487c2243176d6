"""Where the session store's Redis or Valkey is, and how to reach it.

redis://[user:password@]host:port/db        rediss://…  (TLS; options as redis-py has them: ?ssl_ca_certs=…)
unix://[user:password@]/path/to.sock?db=0
redis+sentinel://[user:password@]host:port,host:port/service/db          rediss+sentinel://…
redis+cluster://[user:password@]host:port,host:port                      rediss+cluster://…
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

Address = tuple[str, int]

FORMS = {
    "redis": "redis://[user:password@]host:port/db",
    "rediss": "rediss://[user:password@]host:port/db",
    "unix": "unix://[user:password@]/path/to.sock?db=0",
    "redis+sentinel": "redis+sentinel://[user:password@]host:port,host:port/service/db",
    "rediss+sentinel": "rediss+sentinel://[user:password@]host:port,host:port/service/db",
    "redis+cluster": "redis+cluster://[user:password@]host:port,host:port",
    "rediss+cluster": "rediss+cluster://[user:password@]host:port,host:port",
}


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
    sentinels: tuple[Address, ...] = ()
    service: str = ""  # the name by which the sentinels know the primary
    cluster: tuple[Address, ...] = ()  # nodes that know the others
    connect_timeout: float = 1.0
    command_timeout: float = 2.0

    def __str__(self) -> str:
        if self.sentinels:
            return f"{self.service} of {len(self.sentinels)} sentinels"
        return self.path or f"{self.host}:{self.port}/{self.db}"

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any] | None = None) -> Self:
        """ImproperlyConfigured when `url` is none. `options` as django-redis has them."""
        options = options or {}
        scheme, slashes, _ = url.partition("://")
        form = FORMS.get(scheme.lower()) if slashes else None
        if form is None:
            named = f"has the unknown scheme {scheme!r}" if slashes else "has no scheme"
            raise ImproperlyConfigured(f"REDIS_URL {named}: write {FORMS['redis']}, or one of {', '.join(FORMS)}.")
        try:
            parts = several(url) if "+" in scheme else single(url)
        except ValueError as error:
            raise ImproperlyConfigured(f"REDIS_URL is not understood ({error}): write {form}.") from None
        return cls(
            username=parts.pop("username", None) or options.get("USERNAME") or "",
            password=parts.pop("password", None) or options.get("PASSWORD") or "",
            **parts,
            connect_timeout=float(options.get("SOCKET_CONNECT_TIMEOUT") or 1.0),
            command_timeout=float(options.get("SOCKET_TIMEOUT") or 2.0),
        )

    def at(self, address: Address) -> "Server":
        """A node of this cluster, or the primary of these sentinels."""
        return replace(self, host=address[0], port=address[1], sentinels=(), service="", cluster=())

    async def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        if self.path:
            await loop.create_unix_connection(protocol, self.path)
            return
        host, port = await self.primary() if self.sentinels else (self.host, self.port)
        context = None if self.tls is None else tls_context(dict(self.tls))
        await loop.create_connection(protocol, host, port, ssl=context)

    async def primary(self) -> Address:
        """Whom the first sentinel that answers names. ConnectionError when none does."""
        for host, port in self.sentinels:
            # Without redis-py's retries: the next sentinel is a better try.
            sentinel = Redis(
                host=host,
                port=port,
                socket_timeout=0.3,
                socket_connect_timeout=0.3,
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),
            )
            try:
                found: Any = await sentinel.sentinel_get_master_addr_by_name(self.service)
                return str(found[0]), int(found[1])
            except (RedisError, OSError, TypeError):  # TypeError: it does not know the service
                continue
            finally:
                await sentinel.aclose()
        raise ConnectionError(f"no sentinel knows the primary of {self.service!r}")

    def login(self) -> list[tuple[str, ...]]:
        """The commands with which a connection begins."""
        commands: list[tuple[str, ...]] = []
        if self.password:
            commands.append(("AUTH", self.username or "default", self.password))
        if self.db:
            commands.append(("SELECT", str(self.db)))
        return commands


def single(url: str) -> dict[str, Any]:
    parts = split(url)
    port_of(parts)
    given: dict[str, Any] = dict(parse_url(url))
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("the path of the socket is missing")
        given["db"] = database(str(given.get("db", "")))
    else:
        given["db"] = database(str(given["db"]) if "db" in dict(parse_qsl(parts.query)) else parts.path.strip("/"))
    if parts.scheme == "rediss":
        given["tls"] = tls_options(given)
    names = ("host", "port", "path", "db", "username", "password", "tls")
    return {name: given[name] for name in names if given.get(name) is not None}


def several(url: str) -> dict[str, Any]:
    whole = split(url)
    scheme, kind = whole.scheme.split("+")
    login, _, hosts = whole.netloc.rpartition("@")
    username, _, password = login.partition(":")
    addresses = tuple(address(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
    parts: dict[str, Any] = {"username": unquote(username), "password": unquote(password)}
    query = dict(parse_qsl(whole.query))
    if scheme == "rediss":
        parts["tls"] = tls_options(query)
    if kind == "cluster":
        if db := database(query.get("db") or whole.path.strip("/")):
            raise ValueError(f"a cluster has the database 0 alone, not {db}")
        return {**parts, "cluster": addresses, "host": addresses[0][0], "port": addresses[0][1]}
    service, _, path = whole.path.strip("/").partition("/")
    if not service:
        raise ValueError("the name of the sentinels' service is missing")
    return {**parts, "sentinels": addresses, "service": service, "db": database(query.get("db") or path)}


def address(text: str, port: int) -> Address:
    parts = split(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, port_of(parts) or port


def split(url: str) -> SplitResult:
    # Python's own words may quote the password.
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("the host is none") from None


def port_of(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise ValueError(
            "the port is no number from 0 to 65535; in a password write / ? # @ as %2F %3F %23 %40"
        ) from None


def database(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the database {text!r} is no whole number of 0 or more")
    return int(text or 0)


def tls_options(given: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(value)) for name, value in given.items() if name.startswith("ssl_")))


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
