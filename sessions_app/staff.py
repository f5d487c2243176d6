"""Who may use the staff doors: a logged-in member of staff with the permission that the door names."""

from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.authentication import SessionScheme
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class StaffLogin(SessionAuthentication):
    """Django's login. Unlike its base it names a challenge, so that a stranger gets 401 and not 403."""

    def authenticate_header(self, request: Request) -> str:
        return 'Session realm="staff"'


class StaffLoginScheme(SessionScheme):
    target_class = "sessions_app.staff.StaffLogin"


class StaffPermission(BasePermission):
    """The view says which: `staff_permissions = {"GET": "app.view_thing", …}`."""

    message = "You may not do this: ask for the permission it needs."

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if isinstance(user, AnonymousUser) or not user.is_staff:
            return False
        needed = view.staff_permissions.get("GET" if request.method in ("HEAD", "OPTIONS") else request.method)
        # A method that the view does not have is answered 405 by the dispatch that follows.
        return needed is None or user.has_perm(needed)


class StaffView(APIView):
    authentication_classes = [StaffLogin]
    permission_classes = [StaffPermission]
    staff_permissions: ClassVar[dict[str, str]] = {}
