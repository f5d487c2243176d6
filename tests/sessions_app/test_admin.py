"""The live sessions' admin: what it shows, whom it lets do what, what it asks of the store."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agent_app.journal import journal
from sessions_app.models import Session
from sessions_app.stores.coalescing import Line
from tests.conftest import ValkeyServer
from tests.staff import is_live, live, live_redis, logged_in, put, seconds_left, store_away, use_redis  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

ALL = ("sessions_app.view_session", "sessions_app.expire_session", "sessions_app.extend_session")
LIST = "/admin/sessions_app/session/"
CONFIRMED = {"confirmed": "yes"}


def one(session_id: str, act: str = "change") -> str:
    return reverse(f"admin:sessions_app_session_{act}", args=(session_id,))


def listed(answer: Any) -> list[str]:
    return [session.session_id for session in answer.context["cl"].result_list]


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


@pytest.fixture
def client(live: str) -> Client:  # noqa: F811 - the fixture
    return logged_in(*ALL)


# ---- the list ---------------------------------------------------------------------------------------------


def test_the_list_is_read_from_the_store(client: Client) -> None:
    put("older", user_id="C-1", message_count=3)
    put("newer", ttl=5400, escalated=True)
    answer = client.get(LIST)
    assert listed(answer) == ["newer", "older"]
    page = answer.content.decode()
    assert "1 h 29 min" in page
    assert "C-1" in page
    assert "Live now" in page
    assert "<svg" in page
    assert "2 opened, 0 ended" in page


def test_pages_by_cursor_show_each_session_once(client: Client) -> None:
    for number in range(205):
        put(f"s{number}")
    seen, address, pages = [], LIST, 0
    while address:
        answer = client.get(address)
        seen += listed(answer)
        following = answer.context["cl"].next_page
        address, pages = (LIST + following if following else ""), pages + 1
    assert pages == 3
    assert len(seen) == len(set(seen)) == 205
    assert answer.context["cl"].first_page == "?"


@pytest.mark.parametrize("query", ["?cursor=foreign", "?cursor="])
def test_a_cursor_that_is_none_begins_at_the_beginning(client: Client, query: str) -> None:
    put("s1")
    assert listed(client.get(LIST + query)) == ["s1"]


def test_search_finds_the_session_then_the_users(client: Client) -> None:
    put("C-1")
    put("s1", user_id="C-1")
    put("s2", user_id="C-2")
    assert listed(client.get(LIST, {"q": "C-1"})) == ["C-1", "s1"]
    assert listed(client.get(LIST, {"q": "s2"})) == ["s2"]
    assert listed(client.get(LIST, {"q": "s"})) == []
    assert "No live session matches" in client.get(LIST, {"q": "x" * 300}).content.decode()


def test_filter_by_escalated(client: Client) -> None:
    put("calm")
    put("escalated", escalated=True)
    assert listed(client.get(LIST, {"escalated": "yes"})) == ["escalated"]
    assert listed(client.get(LIST, {"escalated": "no"})) == ["calm"]
    assert listed(client.get(LIST, {"escalated": "yes", "q": "calm"})) == []


def test_an_empty_desk_says_so(client: Client) -> None:
    assert "No live sessions. A customer’s chat appears here" in client.get(LIST).content.decode()


def test_what_customers_wrote_is_escaped(client: Client) -> None:
    put("s1", user_id="<script>alert(1)</script>", metadata={"</pre><script>": "<img src=x onerror=y>"})
    for address in (LIST, one("s1")):
        page = client.get(address).content.decode()
        assert "<script>alert" not in page
        assert "</pre><script>" not in page
        assert "<img src=x" not in page


def test_no_page_needs_inline_script_or_style(client: Client) -> None:
    put("s1", user_id="C-1")
    for address in (LIST, one("s1"), one("s1", "expire"), one("s1", "extend"), LIST + "expire-user/?session=s1"):
        answer = client.get(address)
        page = answer.content.decode()
        assert answer.status_code == 200
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", page), address


# ---- what it costs ----------------------------------------------------------------------------------------


@dataclass
class Cost:
    queries: int
    hops: int  # each is an event loop of its own here, with a connection of its own
    commands: dict[str, int]
    turns: int


@pytest.fixture
def counted_redis(settings: Any, tmp_path: Path) -> Iterator[redis.Redis]:
    """The site's store in a Valkey of its own, which counts nobody else's commands."""
    server = ValkeyServer(tmp_path)
    server.start()
    use_redis(settings, server)
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client
    journal.close()
    server.stop()


@pytest.mark.parametrize(("act", "reads"), [("list", True), ("search", True), ("one", False), ("confirm", True)])
def test_cost_does_not_grow_with_the_page(counted_redis: redis.Redis, act: str, reads: bool) -> None:
    """Two sessions and a full page of a hundred: as many queries and hops to the store, and one read for each more."""
    client = logged_in(*ALL)
    ids = [f"s{number}" for number in range(100)]

    def cost() -> Cost:
        counted_redis.config_resetstat()
        before = Line.turns
        with CaptureQueriesContext(connection) as queries:
            if act == "confirm":
                client.post(LIST, {"action": "expire_selected", "_selected_action": ids})
            else:
                client.get({"list": LIST, "search": LIST + "?q=C-1", "one": one("s1")}[act])
        turns = Line.turns - before
        stats: Any = counted_redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}
        del commands["config|resetstat"], commands["time"]  # one TIME goes with each write
        return Cost(len(queries), commands.pop("script|exists"), commands, turns)

    for session_id in ids[:2]:
        put(session_id, user_id="C-1")
    cost()  # fills Django's caches of content types and templates
    few = cost()
    for session_id in ids:
        put(session_id, user_id="C-1", metadata={"page": "/tents"})
    many = cost()
    assert many.queries == few.queries <= 8
    assert many.hops == few.hops <= 2
    grown = {name: calls - few.commands.get(name, 0) for name, calls in many.commands.items()}
    assert {name: calls for name, calls in grown.items() if calls} == ({"hgetall": 98} if reads else {})
    assert many.turns < 30  # one after the other they would be a hundred and more


# ---- one session ------------------------------------------------------------------------------------------


def test_one_session_shows_every_field(client: Client) -> None:
    put("s1", user_id="C-1", thread_id="t-9", request_id="r-7", metadata={"größe": [1, {"a": None}]}, message_count=42)
    page = client.get(one("s1")).content.decode()
    for shown in ("C-1", "t-9", "r-7", "42", "größe", "9 min"):
        assert shown in page
    assert 'href="/admin/sessions_app/session/"' in page, "breadcrumbs"


def test_a_session_that_has_ended_is_said(client: Client) -> None:
    answer = client.get(one("gone"), follow=True)
    assert "doesn’t exist" in said(answer)[0]


def test_an_id_with_every_kind_of_character_has_its_page(client: Client) -> None:
    odd = 'a/b_c?d&e#f"g<h> é%2F'
    put(odd)
    page = client.get(LIST).content.decode()
    assert f'href="{one_quoted(odd)}' in page
    assert client.get(one_quoted(odd)).status_code == 200
    client.post(one_quoted(odd).replace("/change/", "/expire/"), CONFIRMED)
    assert not is_live(odd)


def one_quoted(session_id: str) -> str:
    from django.contrib.admin.utils import quote

    return one(quote(session_id))


# ---- acts -------------------------------------------------------------------------------------------------


def test_expire_asks_once_then_ends_and_is_logged(client: Client) -> None:
    put("s1")
    put("other")
    asked = client.get(one("s1", "expire"))
    assert "Expire this live session?" in asked.content.decode()
    assert is_live("s1"), "asking changes nothing"
    client.post(one("s1", "expire"), {"confirmed": "no"})
    assert is_live("s1")
    answer = client.post(one("s1", "expire"), CONFIRMED, follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    assert said(answer) == ["1 live session was expired."]
    assert not is_live("s1")
    assert is_live("other")
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.action_flag, entry.user.username) == ("s1", DELETION, "ana")
    assert entry.content_type == ContentType.objects.get_for_model(Session)


def test_extend_asks_how_long_then_adds_it(client: Client) -> None:
    put("s1", ttl=600)
    assert "Minutes" in client.get(one("s1", "extend")).content.decode()
    assert seconds_left("s1") <= 600
    bad = client.post(one("s1", "extend"), {**CONFIRMED, "minutes": "1441"})
    assert "less than or equal to 1440" in bad.content.decode()
    answer = client.post(one("s1", "extend"), {**CONFIRMED, "minutes": "20"}, follow=True)
    assert said(answer) == ["1 live session has 20 more minutes."]
    assert answer.redirect_chain == [(one("s1"), 302)]
    assert 600 < seconds_left("s1") <= 1800
    assert LogEntry.objects.get().action_flag == CHANGE
    history = client.get(one("s1", "history")).content.decode()
    assert "Extended by 1200 seconds." in history


def test_selected_sessions_expire_and_the_late_ones_are_said(client: Client) -> None:
    for number in range(3):
        put(f"s{number}")
    chosen = {"action": "expire_selected", "_selected_action": ["s0", "s1", "gone"]}
    asked = client.post(LIST, {**chosen, "index": "0"}).content.decode()
    assert "Expire these 3 live sessions?" in asked
    assert asked.count('name="_selected_action"') == 3
    answer = client.post(LIST, {**chosen, **CONFIRMED}, follow=True)
    assert said(answer) == ["2 live sessions were expired.", "1 had ended before."]
    assert listed(answer) == ["s2"]
    assert LogEntry.objects.count() == 2


def test_selected_sessions_extend(client: Client) -> None:
    put("s0", ttl=60)
    put("s1", ttl=600)
    chosen = {"action": "extend_selected", "_selected_action": ["s0", "s1"]}
    assert "Let these 2 live sessions live longer?" in client.post(LIST, {**chosen, "index": "0"}).content.decode()
    client.post(LIST, {**chosen, **CONFIRMED, "minutes": "10"})
    assert 600 < seconds_left("s0") <= 660
    assert 660 < seconds_left("s1") <= 1200


def test_all_sessions_of_a_user_expire(client: Client) -> None:
    for number in range(120):
        put(f"s{number}", user_id="C-1 & Söhne")
    put("other", user_id="C-2")
    shown = client.get(one("s7")).content.decode()
    address = f"{LIST}expire-user/?session=s7"
    assert f'href="{address}"' in shown
    page = client.get(address).content.decode()
    assert "Expire all 120 live sessions of C-1 &amp; Söhne?" in page
    assert '<input type="hidden" name="user_id" value="C-1 &amp; Söhne">' in page
    confirmed = {**CONFIRMED, "user_id": "C-1 & Söhne"}
    assert said(client.post(address, confirmed, follow=True)) == ["120 live sessions were expired."]
    assert listed(client.get(LIST)) == ["other"]
    assert said(client.post(address, confirmed, follow=True)) == ["C-1 & Söhne has no live sessions."]
    assert said(client.get(address, follow=True)) == ["This live session has ended, or is nobody's."]


# ---- who may ----------------------------------------------------------------------------------------------

PAGES: list[tuple[str, Callable[[], str], str, dict[str, str] | None]] = [
    ("list", lambda: LIST, "view_session", None),
    ("one", lambda: one("s1"), "view_session", None),
    ("history", lambda: one("s1", "history"), "view_session", None),
    ("ask to expire", lambda: one("s1", "expire"), "expire_session", None),
    ("expire", lambda: one("s1", "expire"), "expire_session", CONFIRMED),
    ("ask to extend", lambda: one("s1", "extend"), "extend_session", None),
    ("extend", lambda: one("s1", "extend"), "extend_session", {**CONFIRMED, "minutes": "5"}),
    ("ask to expire a user", lambda: LIST + "expire-user/?session=s1", "expire_session", None),
    ("expire a user", lambda: LIST + "expire-user/?session=s1", "expire_session", CONFIRMED),
]


@pytest.mark.parametrize(
    ("name", "address", "needed", "body"), PAGES, ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("who", ["stranger", "without", "with", "superuser"])
def test_each_page_needs_its_own_permission(
    name: str, address: Callable[[], str], needed: str, body: dict[str, str] | None, who: str
) -> None:
    put("s1", ttl=600, user_id="C-1")
    client = {
        "stranger": Client,
        "without": lambda: logged_in(*(each for each in ALL if not each.endswith(needed))),
        "with": lambda: logged_in("sessions_app.view_session", f"sessions_app.{needed}"),
        "superuser": lambda: logged_in(is_superuser=True),
    }[who]()
    answer = client.get(address()) if body is None else client.post(address(), body)
    if who == "stranger":
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")
    elif who == "without":
        assert answer.status_code == 403
    else:
        assert answer.status_code in (200, 302)
        assert not answer.headers.get("Location", "").startswith("/admin/login/")
    if who in ("stranger", "without"):
        assert is_live("s1")
        assert seconds_left("s1") <= 600


def test_a_chosen_action_needs_its_permission_too() -> None:
    put("s1")
    client = logged_in("sessions_app.view_session")
    assert "expire_selected" not in client.get(LIST).content.decode()
    client.post(LIST, {"action": "expire_selected", "_selected_action": ["s1"], **CONFIRMED})
    assert is_live("s1")


@pytest.mark.parametrize("page", ["add/", "s1/delete/"])
def test_nobody_adds_or_deletes(page: str) -> None:
    put("s1")
    assert logged_in(is_superuser=True).get(LIST + page).status_code == 403


def test_nobody_changes_by_the_form() -> None:
    put("s1", user_id="C-1")
    assert logged_in(is_superuser=True).post(one("s1"), {"user_id": "C-2"}).status_code == 403


def test_just_the_designed_permissions_exist() -> None:
    codenames = ContentType.objects.get_for_model(Session).permission_set.values_list("codename", flat=True)
    assert set(codenames) == {"view_session", "expire_session", "extend_session"}


READING = [page for page in PAGES if page[0] not in ("ask to expire", "ask to extend")]  # those only ask


# ---- the store away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "address", "needed", "body"), READING, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_store_away_is_a_banner_and_never_an_empty_table(
    store_away: None,  # noqa: F811
    name: str,
    address: Callable[[], str],
    needed: str,
    body: dict[str, str] | None,
) -> None:
    client = logged_in(*ALL)
    answer = client.get(address()) if body is None else client.post(address(), body)
    page = answer.content.decode()
    assert answer.status_code == 503
    assert "The session store is unavailable." in page
    assert "result_list" not in page
    assert not LogEntry.objects.exists()
    assert User.objects.count() == 1
