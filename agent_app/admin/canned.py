"""Canned replies in the admin: what staff send often."""

from django.contrib import admin

from agent_app.models import CannedReply


@admin.register(CannedReply)
class CannedReplyAdmin(admin.ModelAdmin):
    list_display = ("title", "shortcut", "text")
    search_fields = ("title", "shortcut", "text")
    prepopulated_fields = {"shortcut": ("title",)}
