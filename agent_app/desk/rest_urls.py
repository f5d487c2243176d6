"""Under /api/v1/desk/."""

from django.urls import path

from agent_app.desk import rest

urlpatterns = [
    path("conversations/", rest.ConversationList.as_view(), name="desk-conversations"),
    path("conversations/<str:thread_id>/", rest.ConversationDetail.as_view(), name="desk-conversation"),
    path("conversations/<str:thread_id>/messages/", rest.ConversationMessages.as_view(), name="desk-messages"),
    path("conversations/<str:thread_id>/takeover/", rest.TakeOver.as_view(), name="desk-takeover"),
    path("conversations/<str:thread_id>/release/", rest.Release.as_view(), name="desk-release"),
    path("conversations/<str:thread_id>/reply/", rest.Reply.as_view(), name="desk-reply"),
    path("conversations/<str:thread_id>/note/", rest.Note.as_view(), name="desk-note"),
    path("conversations/<str:thread_id>/facts/<int:fact_id>/", rest.RememberedFact.as_view(), name="desk-fact"),
    path("conversations/<str:thread_id>/resolve/", rest.Resolve.as_view(), name="desk-resolve"),
    path("conversations/<str:thread_id>/assign/", rest.Assign.as_view(), name="desk-assign"),
    path("canned/", rest.Canned.as_view(), name="desk-canned"),
    path("staff/", rest.Staff.as_view(), name="desk-staff"),
]
