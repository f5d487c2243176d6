"""The desk's pages, for staff who may view conversations. They can be read as they are; acts go over the socket."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agent_app.desk import inbox
from agent_app.desk.details import details
from agent_app.desk.rest import MAY_SEE_AUDIT, MAY_SEE_FACTS, MAY_SEE_NOTES, beside
from agent_app.markdown import to_html
from agent_app.models import Conversation, Ticket
from agent_app.models.conversations import Entry
from agent_app.models.people import display_name
from agent_app.packet import packet
from sessions_app.stores import get_store

NEWEST_MESSAGES = 200  # of a thread; the whole of a longer one is a click away

View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """Behind the staff login; who lacks the permission is told so, rather than asked to log in again."""

    def allowed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not (request.user.is_staff and request.user.has_perm("agent_app.view_conversation")):
            return render(request, "agent_app/desk/forbidden.html", status=403)
        return view(request, *args, **kwargs)

    return never_cache(require_safe(login_required(allowed)))


@staff_page
def conversations(request: HttpRequest) -> HttpResponse:
    if "tab" not in request.GET:
        return redirect(f"{reverse('desk')}?tab={first_tab()}")
    return render(request, "agent_app/desk/desk.html", list_of(request))


@staff_page
def thread(request: HttpRequest, thread_id: str) -> HttpResponse:
    """The newest messages, with ?whole=1 all; with ?part=chat without the list, for a desk that shows one already."""
    conversation = get_object_or_404(Conversation.objects.select_related("assignee"), thread_id=thread_id)
    earlier = 0 if "whole" in request.GET else max(0, conversation.last_seq - NEWEST_MESSAGES)
    entries = conversation.messages.after(earlier).entries()
    ticket = Ticket.objects.filter(conversation=conversation).first()
    live, handed_over = async_to_sync(beside)(conversation, packet(conversation, ticket, entries))
    may = request.user.has_perm
    beside_it = details(conversation, live, may(MAY_SEE_AUDIT), may(MAY_SEE_FACTS))
    if beside_it["audit"] is not None:  # the agent's own tools are in the packet, and would drown what people did
        beside_it["audit"] = [act for act in beside_it["audit"] if not act["action"].startswith("tool.")]
    around = place_of(request) if request.GET.get("part") == "chat" else list_of(request)
    context = around | {
        "conversation": conversation,
        "answers": inbox.who_answers(conversation),
        "assignee": display_name(conversation.assignee) if conversation.assignee else "",
        "name": conversation.user_id or "Visitor",
        "quiet_for": inbox.short_age(timezone.now() - conversation.updated_at),
        "said": said_in(conversation, entries, request.user.has_perm(MAY_SEE_NOTES)),
        "earlier": earlier,
        "packet": handed_over,
        "details": beside_it,
        "store_is_away": live is None and not get_store().available,
    }
    return render(request, "agent_app/desk/thread.html", context)


def said_in(conversation: Conversation, entries: list[Entry], with_notes: bool) -> list[dict[str, Any]]:
    """Messages, each followed by the notes that were written behind it."""
    said: list[tuple[int, dict[str, Any]]] = [
        (entry.seq, {"entry": entry, "html": to_html(entry.text)}) for entry in entries
    ]
    if with_notes:
        said += [(note.after, {"note": note}) for note in conversation.notes.all()]
    return [shown for _, shown in sorted(said, key=lambda each: each[0])]


def first_tab() -> str:
    """Whoever waits for a person comes first; a quiet desk shows everything."""
    return "waiting" if Conversation.objects.waiting().exists() else "all"


def list_of(request: HttpRequest) -> dict[str, Any]:
    """The list beside every page of the desk; an unknown tab is All."""
    assert request.user.pk is not None  # noqa: S101 - a staff page is behind the login
    tabs = inbox.tabs_of(request.user.pk)
    tab = next((tab for tab in tabs if tab.name == request.GET.get("tab")), tabs[-1])
    words = request.GET.get("q", "").strip()
    cards, more = inbox.cards_of(tab, words)
    return {
        "tabs": tabs,
        "tab": tab,
        "words": words,
        "cards": cards,
        "more": more,
        "most": inbox.MOST_CARDS,
        "me": display_name(request.user),
        **place_of(request, tab.name),
    }


def place_of(request: HttpRequest, tab: str | None = None) -> dict[str, str]:
    """Where in the list one is, as addresses have it."""
    place = QueryDict(mutable=True)
    words = request.GET.get("q", "").strip()
    place.update({"tab": tab or request.GET.get("tab", "all")} | ({"q": words} if words else {}))
    return {"place": place.urlencode()}
