"""Why a tool did not give what was asked. The message is for models, `said` for customers."""


class ToolFailure(Exception):
    """What a tool function may raise. `code` is one of ToolError's; `said` a sentence that a customer may read."""

    code = "failed"

    def __init__(self, message: str = "", said: str = "") -> None:
        super().__init__(message or said)
        self.said = said


class NotAllowed(ToolFailure):
    """The tool's policy, or the back end, says no; the message says why."""

    code = "refused"


class NeedsIdentity(NotAllowed):
    """Nobody is verified in this chat."""

    code = "needs_identity"


class NotFound(ToolFailure):
    """There is no such thing, or it is somebody else's: the two look the same."""

    code = "not_found"


class Away(ToolFailure):
    """The back end does not answer, or not in time: a write may have happened all the same."""

    code = "unavailable"


class TooLarge(ToolFailure):
    """The back end's answer is longer than anybody reads."""

    code = "too_large"
