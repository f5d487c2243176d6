"""A person at the desk, in a process of its own: takes chats over, replies, releases, and lets their time run out.

Reads one JSON command a line, `{"do": …, "session_id": …}`, and answers each with a line: what came of it. It goes
through the journal as every door does, beside the instances' own writers.
"""

import asyncio
import json
import os
import sys
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "supportdesk.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - Django must know its settings first
from django.utils import timezone  # noqa: E402

from agent_app.journal import journal  # noqa: E402
from agent_app.models import Conversation  # noqa: E402
from agent_app.models.refusal import Unavailable  # noqa: E402
from agent_app.models.turns import Act, Expire, Release, StaffReply, TakeOver  # noqa: E402
from tests.faults.promises import RELEASED, TAKEN_OVER  # noqa: E402


def act_of(command: str, chat: int, staff: int) -> Act:
    match command:
        case "take over":
            return TakeOver(chat, staff, TAKEN_OVER, "Mara")
        case "reply":
            return StaffReply(chat, staff, "I am looking into it.", "Mara")
        case "release":
            return Release(chat, staff, RELEASED)
        case "expire":
            return Expire(chat)
    raise ValueError(f"There is no command {command!r}.")


async def run_out(chat: int) -> None:
    """Its time is over, as if the customer had been away for long; every message after this renews it."""
    await journal.read(Conversation.objects.filter(pk=chat).update, live_until=timezone.now() - timedelta(seconds=1))


async def obey(command: str, session_id: str, staff: int) -> str:
    try:
        chat = (await journal.read(Conversation.objects.get, session_id=session_id)).pk
        if command == "expire":
            await run_out(chat)
        done = await journal.do(act_of(command, chat, staff))
    except Unavailable:
        return "unavailable"
    return done.refused or ("done" if done.changed_state or done.entries else "nothing")


def tell(answer: str) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    staff = (await journal.read(get_user_model().objects.get_or_create, username="mara"))[0].pk
    tell("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        tell(await obey(asked["do"], asked["session_id"], staff))
    journal.close()


if __name__ == "__main__":
    asyncio.run(main())
