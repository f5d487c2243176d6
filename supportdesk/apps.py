import sqlite3
from contextlib import closing

from django.apps import AppConfig
from django.db import connection


class SupportdeskConfig(AppConfig):
    name = "supportdesk"
    verbose_name = "Supportdesk"

    def ready(self) -> None:
        if connection.vendor == "sqlite" and sqlite_knows_json():
            type(connection.features).supports_json_field = True


def sqlite_knows_json() -> bool:
    """Django asks the desk's own file, in a transaction, and ours wait until they can write: one that another process
    had locked for longer was taken for a SQLite without JSON, and every command ended with that.
    """
    with closing(sqlite3.connect(":memory:")) as memory:
        try:
            memory.execute("SELECT JSON('{}')")
        except sqlite3.OperationalError:
            return False  # Django asks again, and says what is missing
    return True
