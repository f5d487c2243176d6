"""The desk in the admin: each room registers its own."""

from django.contrib import admin

from agent_app.admin import (
    audit,
    audited,
    canned,
    conversations,
    erasures,
    feedback,
    knowledge,
    learning,
    letters,
    live_sessions,
    memory,
    tickets,
    tokens,
)

admin.site.site_header = admin.site.site_title = "Supportdesk"
admin.site.index_title = "Desk"
admin.site.index_template = "admin/agent_app/index.html"

__all__ = [
    "audit",
    "audited",
    "canned",
    "conversations",
    "erasures",
    "feedback",
    "knowledge",
    "learning",
    "letters",
    "live_sessions",
    "memory",
    "tickets",
    "tokens",
]
