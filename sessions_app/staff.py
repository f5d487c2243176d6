"""Who may use the staff doors: a member of staff with the permission that the door names."""

from typing import Any, ClassVar, Protocol, cast

from django.contrib.auth.models import AnonymousUser
from drf_spectacular.utils import OpenApiResponse
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

# The protocol's error object, by the name that the schema has for it: it is another app's to describe.
ERROR = OpenApiResponse({"$ref": "#/components/schemas/Error"})


def answers(success: int, body: Any, *errors: int) -> dict[int, Any]:
    """For the schema: what a staff door answers, 401 and 403 among it."""
    return {success: body, **dict.fromkeys((401, 403, *errors), ERROR)}


class Scoped(Protocol):
    """A token that may do less than its user."""

    def allows(self, permission: str) -> bool: ...


class StaffPermission(BasePermission):
    """The view says which: `staff_permissions = {"GET": "app.view_thing", …}`."""

    message = "You may not do this: ask for the permission it needs."

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if isinstance(user, AnonymousUser) or not user.is_staff:
            return False
        needed = view.staff_permissions.get("GET" if request.method in ("HEAD", "OPTIONS") else request.method)
        if needed is None:
            return True  # a method that the view does not have is answered 405 by the dispatch that follows
        return user.has_perm(needed) and (request.auth is None or cast(Scoped, request.auth).allows(needed))


class StaffView(APIView):
    """A door for staff. Who is staff (a login, a token) is DEFAULT_AUTHENTICATION_CLASSES' to say."""

    permission_classes = [StaffPermission]
    staff_permissions: ClassVar[dict[str, str]] = {}

    def checked(self, serializer: Any, data: Any) -> Any:
        """The serializer over what was sent, which is valid: what is not was answered 400."""
        asked = serializer(data=data)
        asked.is_valid(raise_exception=True)
        return asked
