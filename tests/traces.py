"""Looking for a customer's words wherever they could have been left."""

from pathlib import Path

import redis
from django.db import connection


def whole_database() -> str:
    """Every row of every table, in words."""
    rows: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows += [f"{table}: {row!r}" for row in cursor.fetchall()]
    return "\n".join(rows)


def whole_store(server: redis.Redis) -> str:
    """Every key of every database of the server, with what is in it."""
    read = {
        "hash": server.hgetall,
        "zset": lambda key: server.zrange(key, 0, -1),
        "set": server.smembers,
        "list": lambda key: server.lrange(key, 0, -1),
        "string": server.get,
        "none": lambda key: None,  # it expired since the scan
    }
    return "\n".join(f"{key}: {read[str(server.type(key))](key)}" for key in server.scan_iter(count=1000))


def whole_folder(folder: Path) -> str:
    return "\n".join(f"{path}: {path.read_bytes()!r}" for path in folder.rglob("*") if path.is_file())


def left_of(words: tuple[str, ...], where: str) -> list[str]:
    return [line for line in where.splitlines() for word in words if word.lower() in line.lower()]
