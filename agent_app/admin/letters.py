"""Letters in the admin: which are owed, went out or failed. What was in one is not kept, nor to whom it went."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin, conversation_link
from agent_app.models import Mail

# Short enough for a column.
STATES = {
    Mail.State.DUE: _("Waiting"),
    Mail.State.SENDING: _("Being sent"),
    Mail.State.SENT: _("Sent"),
    Mail.State.NOT_NEEDED: _("Not needed"),
    Mail.State.FAILED: _("Failed"),
    Mail.State.IN_DOUBT: _("Perhaps sent"),
}
ABOUT = {Mail.Kind.ESCALATION: _("to staff"), Mail.Kind.REPLY: _("to the customer")}


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    list_display = ("about", "chat", "how_it_stands", "due_at", "tries")
    list_display_links = ("about",)
    list_filter = ("state", "kind", "due_at")
    list_select_related = ("conversation",)
    list_per_page = 50
    search_fields = ("event__startswith",)
    search_help_text = _("The event's beginning, such as ticket:ESC-… or reply:…")
    show_full_result_count = False
    fields = ("what", "chat", "how_it_stands", "event", "due_at", "claimed_at", "tries")

    class Media:
        css = {"all": ("agent_app/admin.css",)}

    @admin.display(description=_("letter"), ordering="kind")
    def about(self, letter: Mail) -> str:
        return str(ABOUT[Mail.Kind(letter.kind)])

    @admin.display(description=_("letter"))
    def what(self, letter: Mail) -> str:
        return str(letter.get_kind_display())

    @admin.display(description=_("conversation"))
    def chat(self, letter: Mail) -> SafeString:
        return conversation_link(letter.conversation)

    @admin.display(description=_("state"), ordering="state")
    def how_it_stands(self, letter: Mail) -> SafeString:
        state = Mail.State(letter.state)
        return format_html('<span class="state letter-{}">{}</span>', state.value, STATES[state])

    @admin.display(description=_("tries"), ordering="attempts")
    def tries(self, letter: Mail) -> int:
        return letter.attempts
