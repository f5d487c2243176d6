"""The audit log in the admin: append only, so only read."""

import json

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin
from agent_app.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "session_id")
    list_filter = ("action", "at")
    search_fields = ("=actor", "=session_id")
    show_full_result_count = False
    date_hierarchy = "at"
    fields = ("at", "actor", "action", "session_id", "readable_details", "number", "digest", "erased_for")

    @admin.display(description=_("details"))
    def readable_details(self, entry: AuditEntry) -> SafeString:
        details = entry.details
        if details is None:
            return format_html("{}", _("Erased: what stays is that it was done, by whom and when."))
        return format_html("<pre>{}</pre>", json.dumps(details, indent=2, ensure_ascii=False))
