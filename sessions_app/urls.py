"""Staff doors to the live sessions, under /api/v1/."""

from django.urls import path

from sessions_app import views

urlpatterns = [
    path("sessions/", views.SessionList.as_view(), name="sessions"),
    path("sessions/stats/", views.SessionStats.as_view(), name="session-stats"),
    path("sessions/expire/", views.SessionExpire.as_view(), name="sessions-expire"),
    path("sessions/cleanup/", views.SessionCleanup.as_view(), name="sessions-cleanup"),
    path("sessions/<str:session_id>/", views.SessionDetail.as_view(), name="session"),
    path("sessions/<str:session_id>/extend/", views.SessionExtend.as_view(), name="session-extend"),
]
