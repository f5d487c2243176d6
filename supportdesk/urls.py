"""Every path of the desk. The probes (/healthz, /readyz, /metrics) are answered before routing: see health.py."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(title="Supportdesk API", url_name="schema"), name="docs"),
    path("api/v1/", include("sessions_app.urls")),
    path("", include("agent_app.urls")),
]

handler400 = "supportdesk.errors.bad_request"
handler403 = "supportdesk.errors.forbidden"
handler404 = "supportdesk.errors.not_found"
handler500 = "supportdesk.errors.server_error"
