"""Who has which conversation open at the desk, on all instances. Told over the doorbell: lossy, and never the truth.

Each instance tells the whole of what its own people look at in one conversation, whenever it changes and again every
few seconds; what was not told again lapses. So a lost word heals, and an instance that died is soon forgotten.
"""

import time
from collections.abc import Iterable
from typing import Any

from agent_app.doorbell import DESK, Ring, doorbell

TELL_EVERY = 10.0  # seconds
LAPSES = 25.0  # seconds after which an instance's word of a conversation is forgotten

People = dict[int, dict[str, Any]]  # by user: {id, name, doing}


class Presence:
    def __init__(self) -> None:
        self._told: dict[int, dict[str, tuple[float, People]]] = {}  # by conversation, then instance

    def tell(self, conversation_id: int, people: Iterable[dict[str, Any]]) -> None:
        """What this instance's people do in a conversation, to everyone, this instance among them."""
        frame = {"type": "present", "of": conversation_id, "from": doorbell.instance, "people": list(people)}
        doorbell.ring(Ring(DESK, frames=(frame,)))

    def hear(self, frame: dict[str, Any]) -> bool:
        """True when somebody came, went, or does something else."""
        conversation_id = frame["of"]
        before = self.people(conversation_id)
        told = self._told.setdefault(conversation_id, {})
        if frame["people"]:
            told[frame["from"]] = (time.monotonic(), {each["id"]: each for each in frame["people"]})
        else:
            told.pop(frame["from"], None)
        if not told:
            del self._told[conversation_id]
        return self.people(conversation_id) != before

    def lapse(self) -> list[int]:
        """Forgets what was not told again; the conversations in which that changed something."""
        silent = time.monotonic() - LAPSES
        changed = []
        for conversation_id, told in list(self._told.items()):
            left = {instance: word for instance, word in told.items() if word[0] >= silent}
            if len(left) < len(told):
                changed.append(conversation_id)
                self._told[conversation_id] = left
                if not left:
                    del self._told[conversation_id]
        return changed

    def people(self, conversation_id: int) -> list[dict[str, Any]]:
        """By id, one entry a person: writing on one device goes before looking on another."""
        found: People = {}
        for _, people in self._told.get(conversation_id, {}).values():
            for user_id, each in people.items():
                if user_id not in found or each["doing"] == "writing":
                    found[user_id] = each
        return [found[user_id] for user_id in sorted(found)]

    def looking(self) -> dict[int, list[dict[str, Any]]]:
        return {conversation_id: self.people(conversation_id) for conversation_id in list(self._told)}


presence = Presence()
