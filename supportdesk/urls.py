"""Every path of the desk. The probes (/healthz, /readyz, /metrics) are answered before routing: see health.py."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(title="Supportdesk API", url_name="schema"), name="docs"),
]
if find_spec("sessions_app.urls"):
    urlpatterns.append(path("api/v1/", include("sessions_app.urls")))
if find_spec("agent_app.urls"):
    urlpatterns.append(path("", include("agent_app.urls")))

handler400 = "supportdesk.errors.bad_request"
handler403 = "supportdesk.errors.forbidden"
handler404 = "supportdesk.errors.not_found"
handler500 = "supportdesk.errors.server_error"
