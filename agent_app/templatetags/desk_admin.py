"""What the desk's admin templates use."""

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString

from agent_app.admin.dashboard import Dashboard
from agent_app.markdown import to_html

register = template.Library()


@register.simple_tag(takes_context=True)
def desk_dashboard(context: Context) -> Dashboard | None:
    """None for whoever may not see conversations."""
    may_see = context["request"].user.has_perm("agent_app.view_conversation")
    return Dashboard.now() if may_see else None


@register.filter
def markdown(text: str) -> SafeString:
    return to_html(text)
