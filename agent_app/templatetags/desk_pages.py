"""What the desk's own templates use."""

import json
from datetime import datetime
from typing import Any

from django import template

register = template.Library()

# What the audit log calls an act, and what people do.
ACTS = {
    "chat.ended": "Chat ended",
    "desk.taken_over": "Taken over",
    "desk.released": "Given back to the AI",
    "desk.assigned": "Assigned",
    "desk.forgotten": "A remembered fact deleted",
    "desk.replied": "Replied",
    "desk.noted": "Wrote a note",
}


@register.filter
def clock(seconds: float) -> str:
    """As a countdown shows it: 4:05, or 1:04:05."""
    hours, rest = divmod(max(int(seconds), 0), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


@register.filter
def readable_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def moment(text: str) -> datetime:
    """A time as it goes over the wire."""
    return datetime.fromisoformat(text)


@register.filter
def act_in_words(action: str) -> str:
    return ACTS.get(action) or action.replace(".", " ").replace("_", " ").capitalize()


@register.filter
def tool_in_words(tool: str) -> str:
    return tool.replace("_", " ").capitalize()
