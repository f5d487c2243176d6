"""The protocol's seven promises, as a customer can check them: by what it was told, and by the log in the end."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

PROMISES = {
    1: "acknowledged means durable",
    2: "numbered without gap or repeat",
    3: "idempotent",
    4: "resumable",
    5: "exactly one answer",
    6: "no talking over",
    7: "nobody reads another's chat",
}
TAKEN_OVER, RELEASED = "A person has taken over.", "The person has gone."
SHOWN = 5  # violations of one promise that are told in full


@dataclass
class Chat:
    """One chat as its customer knows it."""

    session_id: str
    token: str
    acked: dict[str, tuple[int, str]] = field(default_factory=dict)  # client_id: (seq, id)
    texts: dict[str, str] = field(default_factory=dict)  # client_id: what was sent under it
    seen: dict[int, tuple[str, str, str]] = field(default_factory=dict)  # seq: (id, role, text)
    ended: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Ledger:
    """What happened, and what should not have."""

    def __init__(self) -> None:
        self.chats: list[Chat] = []
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.violations: dict[int, list[str]] = {number: [] for number in PROMISES}
        self.unexpected: Counter[str] = Counter()

    def broken(self, promise: int, what: str, chat: Chat) -> None:
        self.violations[promise].append(f"{chat.session_id[:8]}: {what}")

    # ---- while it runs ----

    def ack(self, chat: Chat, client_id: str, seq: int, id_: str) -> None:
        self.counts["acks"] += 1
        before = chat.acked.setdefault(client_id, (seq, id_))
        if before != (seq, id_):
            self.broken(3, f"{client_id} was acknowledged as {before} and as {(seq, id_)}", chat)

    def saw(self, chat: Chat, message: dict[str, Any]) -> None:
        self.counts["messages shown"] += 1
        shown = (message["id"], message["role"], message["text"])
        before = chat.seen.setdefault(message["seq"], shown)
        if before != shown:
            self.broken(2, f"message {message['seq']} was {before} and is {shown}", chat)

    # ---- the log in the end ----

    def audit(self, chat: Chat, state: str, log: list[dict[str, Any]]) -> None:
        self.counts["messages"] += len(log)
        self.counts["answers"] += sum(message["role"] == "agent" for message in log)
        self._numbered(chat, log)
        self._durable(chat, log)
        self._once(chat, log)
        self._answered(chat, state, log)

    def _numbered(self, chat: Chat, log: list[dict[str, Any]]) -> None:
        seqs = [message["seq"] for message in log]
        if seqs != list(range(1, len(seqs) + 1)):
            self.broken(2, f"the log is numbered {seqs}", chat)
        stored = {message["seq"]: (message["id"], message["role"], message["text"]) for message in log}
        for seq, shown in chat.seen.items():
            if stored.get(seq) != shown:
                self.broken(2, f"message {seq} was shown as {shown} and is {stored.get(seq)}", chat)

    def _durable(self, chat: Chat, log: list[dict[str, Any]]) -> None:
        stored = {(message["seq"], message["id"], message["text"]) for message in log}
        for client_id, (seq, id_) in chat.acked.items():
            if (seq, id_, chat.texts[client_id]) not in stored:
                self.broken(1, f"{client_id} was acknowledged as {seq} and is not there", chat)

    def _once(self, chat: Chat, log: list[dict[str, Any]]) -> None:
        sent = Counter(message["client_id"] for message in log if message["role"] == "customer")
        for client_id, times in sent.items():
            if times > 1:
                self.broken(3, f"{client_id} is stored {times} times", chat)
            if client_id not in chat.texts:
                self.broken(7, f"{client_id} was never sent by this customer", chat)

    def _answered(self, chat: Chat, state: str, log: list[dict[str, Any]]) -> None:
        """Every answer covers customer messages that no earlier one covers, and none that is a person's."""
        customers = {message["seq"] for message in log if message["role"] == "customer"}
        answered = persons = 0
        human = False
        for message in log:
            if message["text"] in {TAKEN_OVER, RELEASED}:
                human, persons = message["text"] == TAKEN_OVER, message["seq"]
            if message["role"] != "agent":
                continue
            covered = message["reply_to"]
            if human or covered <= persons:
                self.broken(6, f"answer {message['seq']} to {covered} comes after a person at {persons}", chat)
            elif covered <= answered or covered not in customers or covered > message["seq"]:
                self.broken(5, f"answer {message['seq']} to {covered}, which is answered up to {answered}", chat)
            answered = max(answered, covered)
        waiting = [seq for seq in customers if seq > max(answered, persons)]
        if waiting and state in {"ai", "waiting"}:
            self.broken(5, f"no answer to {sorted(waiting)}", chat)

    def waits(self, state: str, log: list[dict[str, Any]]) -> bool:
        """A customer still waits for the agent."""
        done = [message["reply_to"] for message in log if message["role"] == "agent"]
        done += [message["seq"] for message in log if message["text"] in {TAKEN_OVER, RELEASED}]
        asked = [message["seq"] for message in log if message["role"] == "customer"]
        return state in {"ai", "waiting"} and bool(asked) and asked[-1] > max(done, default=0)

    # ---- the report ----

    @property
    def kept(self) -> bool:
        return not any(self.violations.values()) and not self.unexpected

    def report(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        faults = ", ".join(f"{count} × {what}" for what, count in self.faults.most_common())
        lines = [f"{len(self.chats)} chats, {counts}", f"{self.faults.total()} faults: {faults}"]
        for number, promise in PROMISES.items():
            broken = self.violations[number]
            lines += [f"{number}. {promise}: {len(broken)} violations", *(f"   {what}" for what in broken[:SHOWN])]
        lines += [f"unexpected: {count} × {what}" for what, count in self.unexpected.most_common()]
        return "\n".join(lines)
