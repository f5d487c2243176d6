"""The protocol's errors as one exception: what a door answers when it does not do what was asked."""

from http import HTTPStatus

STATUS = {
    "bad_json": HTTPStatus.BAD_REQUEST,
    "bad_frame": HTTPStatus.BAD_REQUEST,
    "unknown_type": HTTPStatus.BAD_REQUEST,
    "invalid": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "conflict": HTTPStatus.CONFLICT,
    "closed": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Refused(Exception):
    """`code` is one of the protocol's; `message` says what to do; `retry_after` is in seconds; `who` has what was
    wanted, as `{id, name}`: for staff alone.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after: int | None = None,
        who: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.who = who

    @property
    def status(self) -> int:
        return STATUS[self.code]

    def to_wire(self) -> dict[str, object]:
        wire: dict[str, object] = {"code": self.code, "message": self.message}
        if self.field is not None:
            wire["field"] = self.field
        if self.retry_after is not None:
            wire["retry_after"] = self.retry_after
        if self.who is not None:
            wire["who"] = self.who
        return wire


class Unavailable(Refused):
    """The database did not say that it is done: nothing is acknowledged, and asking again is safe."""

    def __init__(self) -> None:
        super().__init__("unavailable", "The desk cannot store this right now. Send it again shortly.", retry_after=2)
