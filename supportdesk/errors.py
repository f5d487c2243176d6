"""What a caller sees where no view answers: the protocol's error object under /api/, else a small page."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 400, "invalid", "This request cannot be understood: check the address and the headers.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 403, "forbidden", "You may not do this: log in with an account that may.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 404, "not_found", "There is nothing at this address: check it.")


def server_error(request: HttpRequest) -> HttpResponse:
    return answer(request, 500, "internal", "Something went wrong on our side: try again in a moment.")


def answer(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse({"code": code, "message": message}, status=status)
    return render(request, "supportdesk/error.html", {"status": status, "message": message}, status=status)
