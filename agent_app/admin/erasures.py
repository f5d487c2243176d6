"""Customers' rights in the admin: erase, export, and the receipts of what was erased. Each asks once.

A customer is named in a form's body or by a conversation's number, never in an address: addresses end up in logs.
"""

from tempfile import TemporaryFile
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from agent_app.admin.reading import ReadOnlyAdmin, whole
from agent_app.erasing import erase_or_leave
from agent_app.export import export
from agent_app.models import Conversation, Erasure
from agent_app.models.erasure import BACKUPS

TEMPLATES = "admin/agent_app/erasure"


class CustomerForm(forms.Form):
    """Who it is about: a customer, or one chat of nobody known."""

    user_id = forms.CharField(label=_("Customer"), max_length=200, required=False)
    conversation = forms.ModelChoiceField(Conversation.objects.all(), required=False, widget=forms.HiddenInput)
    scope = forms.ChoiceField(choices=Erasure.Scope.choices, required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        conversation: Conversation | None = given.get("conversation")
        if not given.get("user_id") and conversation is not None:
            given["user_id"] = conversation.user_id or ""
        if given.get("scope") == Erasure.Scope.CHAT and conversation is None:
            self.add_error("conversation", _("Choose a chat."))
        elif given.get("scope") != Erasure.Scope.CHAT and not given.get("user_id"):
            self.add_error("user_id", _("Write the customer's id, as your website names them."))
        return given

    @property
    def about_chat(self) -> bool:
        return bool(self.cleaned_data.get("scope") == Erasure.Scope.CHAT)

    def would_erase(self) -> Erasure:
        if self.about_chat:
            return Erasure(scope=Erasure.Scope.CHAT, subject=self.cleaned_data["conversation"].session_id)
        return Erasure(scope=Erasure.Scope.CUSTOMER, subject=self.cleaned_data["user_id"])

    def asked(self, by: str) -> Erasure:
        if self.about_chat:
            return Erasure.objects.of_chat(self.cleaned_data["conversation"], by)
        return Erasure.objects.of_customer(self.cleaned_data["user_id"], by)


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    list_display = ("number", "scope", "asked_by", "asked_at", "finished_at")
    list_filter = ("scope", ("finished_at", admin.EmptyFieldListFilter), "asked_at")
    search_fields = ("number",)
    show_full_result_count = False
    fields = ("number", "scope", "asked_by", "asked_at", "finished_at", "what_went", "holds", "backups", "fingerprint")
    change_list_template = f"{TEMPLATES}/change_list.html"

    @admin.display(description=_("removed"))
    def what_went(self, erasure: Erasure) -> SafeString | str:
        lines = format_html_join("", "<li>{} {}</li>", ((count, what) for what, count in erasure.removed.items()))
        return format_html_join("", "<ul>{}</ul>", [(lines,)]) if lines else str(_("Nothing was there."))

    @admin.display(description=_("checked now"))
    def holds(self, erasure: Erasure) -> str:
        return " ".join(erasure.doubts()) or str(_("This receipt holds."))

    @admin.display(description=_("backups"))
    def backups(self, erasure: Erasure) -> str:
        return BACKUPS

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**rights(request), **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("erase/", wrap(self.erase_view), name="agent_app_erasure_erase"),
            path("export/", wrap(self.export_view), name="agent_app_erasure_export"),
            *super().get_urls(),
        ]

    def erase_view(self, request: HttpRequest) -> HttpResponse:
        """Asks who, then whether, then does it and shows the receipt."""
        if not rights(request)["may_erase"]:
            raise PermissionDenied
        form = customer_form(request)
        if not form.is_valid():
            return self.ask(request, "erase", form)
        if request.POST.get("confirmed") != "yes":
            return self.ask(request, "erase", form, would_remove=form.would_erase().foretold())
        erasure = erase_or_leave(form.asked(request.user.get_username()))
        if erasure.finished_at is None:
            pending = _(
                "%s is unfinished: the session store or the database is away. It goes on with the next cleanup."
            )
            self.message_user(request, pending % erasure, messages.WARNING)
        else:
            self.message_user(request, _("Erased. The receipt is %s.") % erasure, messages.SUCCESS)
        if self.has_view_permission(request):
            return redirect("admin:agent_app_erasure_change", erasure.pk)
        return redirect("admin:index")

    def export_view(self, request: HttpRequest) -> HttpResponse | FileResponse:
        if not rights(request)["may_export"]:
            raise PermissionDenied
        form = customer_form(request)
        if not form.is_valid() or request.POST.get("confirmed") != "yes":
            return self.ask(request, "export", form)
        file = TemporaryFile()  # noqa: SIM115 - the response closes it
        export(form.cleaned_data["user_id"], file, request.user.get_username())
        file.seek(0)
        return FileResponse(file, as_attachment=True, filename="customer.zip", content_type="application/zip")

    def ask(self, request: HttpRequest, act: str, form: CustomerForm, **context: Any) -> HttpResponse:
        title = _("Erase a customer") if act == "erase" else _("Export a customer")
        about = form.cleaned_data if form.is_bound and form.is_valid() else {}
        context |= {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": title,  # the last of the breadcrumbs
            "has_view_permission": self.has_view_permission(request),
            "media": self.media,
            "act": act,
            "form": form,
            "about": about,
            "about_chat": bool(about) and form.about_chat,
            "backups": BACKUPS,
        }
        return TemplateResponse(request, f"{TEMPLATES}/ask.html", context)


def customer_form(request: HttpRequest) -> CustomerForm:
    if request.method == "POST":
        return CustomerForm(request.POST)
    if "conversation" in request.GET and request.user.has_perm("agent_app.view_conversation"):
        conversation = get_object_or_404(Conversation, pk=whole(request.GET["conversation"]))
        return CustomerForm({"conversation": conversation.pk, "scope": request.GET.get("scope", "customer")})
    return CustomerForm()


def rights(request: HttpRequest) -> dict[str, bool]:
    """What of this the user may do."""
    return {
        "may_erase": request.user.has_perm("agent_app.erase_customer"),
        "may_export": request.user.has_perm("agent_app.export_customer"),
    }
