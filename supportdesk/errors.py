"""What a caller sees where no view answers: the protocol's error object under /api/, else a small page."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import sync_and_async_middleware

# The status of a bare error, the protocol's code for it, and what the caller can do.
SENTENCES = {
    400: ("invalid", "This request cannot be understood: check the address, the headers and the body."),
    401: ("unauthorized", "Send the session's token: Authorization: Bearer …"),
    403: ("forbidden", "You may not do this: log in with an account that may."),
    404: ("not_found", "There is nothing at this address: check it."),
    405: ("method_not_allowed", "This address does not take that method: see the Allow header."),
    413: ("too_large", "This is too large: send less."),
    500: ("internal", "Something went wrong on our side: try again in a moment."),
}


def error_object(status: int) -> JsonResponse:
    code, message = SENTENCES.get(status) or SENTENCES[500 if status >= 500 else 400]
    return JsonResponse({"code": code, "message": message}, status=status)


@sync_and_async_middleware
def api_errors(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Makes every error under /api/ the error object.

    Django answers some errors before or around a view, as HTML: an unknown path, a wrong host, a crash, and under
    DEBUG each of them with a page that shows settings.
    """

    def answered(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        ours = response.headers.get("Content-Type", "").startswith(("application/json", "text/event-stream"))
        if response.status_code < 400 or ours or not request.path.startswith("/api/"):
            return response
        replaced = error_object(response.status_code)
        for name in ("Allow", "Retry-After", "WWW-Authenticate"):
            if name in response.headers:
                replaced.headers[name] = response.headers[name]
        return replaced

    async def answer_async(request: HttpRequest) -> HttpResponseBase:
        return answered(request, await get_response(request))

    def answer(request: HttpRequest) -> HttpResponseBase:
        return answered(request, get_response(request))

    return answer_async if iscoroutinefunction(get_response) else answer


def page(request: HttpRequest, status: int) -> HttpResponse:
    context = {"status": status, "message": SENTENCES[status][1]}
    return render(request, "supportdesk/error.html", context, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return page(request, 500)
