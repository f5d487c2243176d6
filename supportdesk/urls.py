"""Every path of the desk. The probes (/healthz, /readyz, /metrics) are answered before routing: see health.py."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class Favicon(RedirectView):
    """For pages that name no icon of their own: the admin's, the API's, whatever a browser opens by itself."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        return static("agent_app/shop/mark.svg")


urlpatterns = [
    path("favicon.ico", Favicon.as_view()),
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
