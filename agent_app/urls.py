"""The customer's doors, and the rooms beside them."""

from django.urls import include, path

from agent_app import files, views

chat_urlpatterns = [
    path("sessions/", views.SessionsView.as_view(), name="chat-sessions"),
    path("sessions/<str:session_id>/", views.SessionView.as_view(), name="chat-session"),
    path("sessions/<str:session_id>/messages/", views.MessagesView.as_view(), name="chat-messages"),
    path("sessions/<str:session_id>/events/", views.EventsView.as_view(), name="chat-events"),
    path("sessions/<str:session_id>/attachments/", files.AttachmentsView.as_view(), name="chat-attachments"),
    path(
        "sessions/<str:session_id>/attachments/<str:attachment_id>/",
        files.AttachmentView.as_view(),
        name="chat-attachment",
    ),
    path("sessions/<str:session_id>/choice/", views.ChoiceView.as_view(), name="chat-choice"),
    path("sessions/<str:session_id>/feedback/", views.FeedbackView.as_view(), name="chat-feedback"),
    path(
        "sessions/<str:session_id>/messages/<int:seq>/feedback/",
        views.MessageFeedbackView.as_view(),
        name="chat-message-feedback",
    ),
    path("sessions/<str:session_id>/transcript/", views.TranscriptView.as_view(), name="chat-transcript"),
    path("sessions/<str:session_id>/erase/", views.EraseView.as_view(), name="chat-erase"),
    path("sessions/<str:session_id>/escalate/", views.EscalateView.as_view(), name="chat-escalate"),
]

urlpatterns = [
    path("api/v1/chat/", include(chat_urlpatterns)),
    path("api/v1/knowledge/", include("agent_app.articles.urls")),
    path("api/v1/desk/", include("agent_app.desk.rest_urls")),
    path("api/v1/customers/", include("agent_app.customers.urls")),
    path("demo/backend/", include("agent_app.demo.urls")),
    path("", include("agent_app.desk.urls")),
    path("", include("agent_app.widget.urls")),
]
