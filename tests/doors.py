"""Every address of the staff's pages, found by walking the URLs and not from memory."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import URLPattern, URLResolver, get_resolver

# Django's own pages, and those of models that are edited by nobody or by its rules.
OWN = re.compile(
    r"admin:(index|login|logout|password_change|password_change_done|autocomplete|jsi18n|view_on_site|app_list|-)$"
    r"|admin:auth_"
)
# Those that only take a POST, with the permission that it needs.
POSTS = {
    "admin:agent_app_article_preview": "agent_app.change_article",
    "admin:agent_app_unansweredquestion_teach": "agent_app.change_article",
    "admin:agent_app_unansweredquestion_draft": "agent_app.add_article",
    "admin:agent_app_unansweredquestion_drop": "agent_app.change_unansweredquestion",
}


def walk(resolver: Any = None, path: str = "", space: str = "") -> Iterator[tuple[str, str]]:
    """(name, path) of every address."""
    for each in (resolver or get_resolver()).url_patterns:
        here = path + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from walk(each, here, space + (f"{each.namespace}:" if each.namespace else ""))
        elif isinstance(each, URLPattern):
            yield space + (each.name or "-"), here


def doors() -> dict[str, str]:
    """The pages of the admin and of the desk, each with its path."""
    return {name: path for name, path in walk() if path.startswith(("admin/", "desk/")) and not OWN.match(name)}


def address(path: str, rows: Mapping[str, Any]) -> str:
    """With the keys of `rows`, by the model's name, and the thread's id as `thread`."""
    model = path.split("/")[2] if path.startswith("admin/") else ""
    key = quote(str(rows.get(model, 1)))
    filled = re.sub(r"<(\w+:)?object_id>", key, path)
    return "/" + filled.replace("<str:thread_id>", str(rows["thread"]))
