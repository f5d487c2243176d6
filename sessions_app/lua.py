"""The Lua scripts by which sessions in Redis are changed; each file says what it takes and gives."""

import logging
from functools import cache
from hashlib import sha1
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "stores" / "lua"
OF_SESSION = ("save", "message", "increment", "update", "touch", "finish", "left")
WRITING = ("save", "message", "increment", "update", "touch")  # refused where writes are refused
OF_BUCKET = ("claim", "living", "mend", "clear", "now")


class Script:
    def __init__(self, name: str) -> None:
        self.source = (FOLDER / "common.lua").read_text() + (FOLDER / f"{name}.lua").read_text()
        self.sha = sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.keys = "2" if name in OF_SESSION else "1"


@cache
def scripts() -> dict[str, Script]:
    loaded = {name: Script(name) for name in OF_SESSION + OF_BUCKET}
    logger.info("Loaded Lua scripts: %s", ", ".join(loaded))
    return loaded
