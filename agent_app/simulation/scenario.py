"""What a scripted customer does, and what has to come of it, read from a YAML file."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_app.simulation.place import NotAScenario, Place

SHIPPED = Path(__file__).with_name("scenarios")

ACTIONS = ("say", "choose", "confirm", "ask_person", "resend", "intrude", "open", "reconnect", "end")
FAULTS = ("back_end", "answers_lost", "writes_refused", "kill")
STATES = ("ai", "waiting", "human", "closed")
OFFLINE, MODEL = "offline", "model"


@dataclass(frozen=True, slots=True)
class Customer:
    """`proven`: by an identity that ends in `expires_in` seconds; `claimed`: only said by who opens the chat."""

    proven: str | None = None
    claimed: str | None = None
    expires_in: int = 600
    forged: bool = False  # signed by somebody else than the shop


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the answer to one step has to be; an empty field asks nothing."""

    reply: tuple[str, ...] = ()  # texts that it contains, whatever their case
    lacks: tuple[str, ...] = ()
    matches: re.Pattern[str] | None = None
    cites: tuple[str, ...] = ()  # articles by slug
    tools: tuple[str, ...] = ()  # among those that ran
    confirm: str | bool | None = None  # False: nothing is offered to be confirmed; a text: the offer contains it
    choices: tuple[str, ...] | bool | None = None
    state: str | None = None
    error: str | None = None  # the code with which the step is refused


@dataclass(frozen=True, slots=True)
class Step:
    action: str
    value: Any
    line: int
    expect: Expectation | None = None
    expect_offline: Expectation | None = None  # what only the wording of the offline answers gives
    over: str = "socket"
    other_desk: bool = False
    label: str | None = None  # by which `resend` names it
    text: str | None = None  # of `resend`: another text under the same client_id
    attach: tuple[str, str] | None = None  # name and content of a file
    fault: tuple[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    goal: str
    file: Path
    runs: tuple[str, ...]
    customer: Customer
    steps: tuple[Step, ...]
    # "order 1050": the fields that are to have changed, with what they are now. Nothing else may have changed.
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    never: tuple[re.Pattern[str], ...] = ()
    state: str | None = None
    escalated: bool | None = None

    @property
    def breaks_things(self) -> bool:
        """It needs two instances and a back end whose wire can be cut."""
        return any(step.fault is not None or step.other_desk for step in self.steps)

    @property
    def needs_shop(self) -> bool:
        opened = [step.value for step in self.steps if step.action == "open"]
        return bool(self.books or any(customer.proven for customer in [self.customer, *opened]))


def read_scenarios(folder: Path = SHIPPED) -> list[Scenario]:
    """All of a folder, by name. Raises NotAScenario for the first that cannot be used."""
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not files:
        raise NotAScenario(f"{folder} holds no scenario (*.yaml)")
    return [read(file) for file in files]


def read(file: Path) -> Scenario:
    top = Place.top(file)
    known = ("goal", "runs", "customer", "steps", "books", "never", "chat")
    fields = top.fields(known, needed=("goal", "runs", "steps"))
    chat = fields["chat"].fields(("state", "escalated")) if "chat" in fields else {}
    runs = fields["runs"]
    marks = tuple(place.one_of((OFFLINE, MODEL)) for place in runs.items())
    if not marks:
        runs.refuse("write [offline], [model] or [offline, model]")
    steps = [read_step(place) for place in fields["steps"].items()]
    if not steps:
        fields["steps"].refuse("there is no step")
    check_labels(steps, fields["steps"].items())
    return Scenario(
        name=file.stem,
        goal=fields["goal"].text(),
        file=file,
        runs=marks,
        customer=read_customer(fields["customer"]) if "customer" in fields else Customer(),
        steps=tuple(steps),
        books=read_books(fields["books"]) if "books" in fields else {},
        never=tuple(pattern(place) for place in fields["never"].items()) if "never" in fields else (),
        state=chat["state"].one_of(STATES) if "state" in chat else None,
        escalated=chat["escalated"].flag() if "escalated" in chat else None,
    )


def read_customer(place: Place) -> Customer:
    fields = place.fields(("proven", "claimed", "expires_in", "forged"))
    if "proven" in fields and "claimed" in fields:
        place.refuse("a customer is proven or claimed, not both")
    return Customer(
        proven=fields["proven"].text() if "proven" in fields else None,
        claimed=fields["claimed"].text() if "claimed" in fields else None,
        expires_in=fields["expires_in"].whole(-86400, 86400) if "expires_in" in fields else 600,
        forged="forged" in fields and fields["forged"].flag(),
    )


def read_step(place: Place) -> Step:
    more = ("expect", "expect_offline", "over", "desk", "as", "text", "attach", "fault")
    fields = place.fields((*ACTIONS, *more))
    actions = [name for name in fields if name in ACTIONS]
    if len(actions) != 1:
        place.refuse(f"a step does one thing of {', '.join(ACTIONS)}; this one does {len(actions)}")
    action = actions[0]
    for name, only in (("as", "say"), ("attach", "say"), ("text", "resend")):
        if name in fields and action != only:
            fields[name].refuse(f"this goes with {only} only")
    return Step(
        action=action,
        value=read_value(action, fields[action]),
        line=place.line,
        expect=read_expectation(fields["expect"]) if "expect" in fields else None,
        expect_offline=read_expectation(fields["expect_offline"]) if "expect_offline" in fields else None,
        over=fields["over"].one_of(("socket", "rest")) if "over" in fields else "socket",
        other_desk="desk" in fields and fields["desk"].one_of(("other",)) == "other",
        label=fields["as"].text() if "as" in fields else None,
        text=fields["text"].text() if "text" in fields else None,
        attach=read_file(fields["attach"]) if "attach" in fields else None,
        fault=read_fault(fields["fault"]) if "fault" in fields else None,
    )


def read_value(action: str, place: Place) -> Any:
    """What stands behind the action's name."""
    match action:
        case "say":
            return place.texts()
        case "choose":
            return place.whole(1, 20) if place.is_a("int") else place.text()
        case "open":
            return read_customer(place)
        case "confirm":
            return place.flag()
        case "intrude" | "reconnect" | "end":
            if not place.flag():
                place.refuse("write yes, or leave the step out")
            return True
        case _:
            return place.text()


def read_file(place: Place) -> tuple[str, str]:
    fields = place.fields(("name", "content"), needed=("name", "content"))
    return fields["name"].text(), fields["content"].text()


def read_fault(place: Place) -> tuple[str, Any]:
    fields = place.fields(FAULTS)
    if len(fields) != 1:
        place.refuse(f"write one of {', '.join(FAULTS)}")
    [(name, value)] = fields.items()
    if name == "back_end":
        return name, value.one_of(("down", "up"))
    if name == "kill":
        return name, value.one_of(("before_write", "after_write"))
    return name, value.whole(1, 10)


def read_expectation(place: Place) -> Expectation:
    fields = place.fields(tuple(Expectation.__dataclass_fields__))
    given: dict[str, Any] = {
        name: fields[name].texts() for name in ("reply", "lacks", "cites", "tools") if name in fields
    }
    if "matches" in fields:
        given["matches"] = pattern(fields["matches"])
    if "confirm" in fields:
        confirm = fields["confirm"]
        given["confirm"] = confirm.flag() if confirm.is_a("bool") else confirm.text()
    if "choices" in fields:
        choices = fields["choices"]
        given["choices"] = choices.flag() if choices.is_a("bool") else choices.texts()
    if "state" in fields:
        given["state"] = fields["state"].one_of(STATES)
    if "error" in fields:
        given["error"] = fields["error"].text()
    if not given:
        place.refuse("nothing is expected here; leave it out")
    return Expectation(**given)


def read_books(place: Place) -> dict[str, dict[str, Any]]:
    books = {}
    for name, record in place.entries().items():
        if not re.fullmatch(r"(?:order|customer|invoice|product|ticket) \S+", name):
            record.refuse("name a record of the back end, such as order 1050")
        books[name] = {field_name: value.plain() for field_name, value in record.entries().items()}
    return books


def pattern(place: Place) -> re.Pattern[str]:
    try:
        return re.compile(place.text(), re.IGNORECASE)
    except re.error as error:
        place.refuse(f"this is no regular expression: {error}")


def check_labels(steps: list[Step], places: list[Place]) -> None:
    known: set[str] = set()
    for step, place in zip(steps, places, strict=True):
        if step.action == "resend" and step.value not in known:
            place.refuse(f"no earlier step says as: {step.value}")
        if step.label is not None:
            known.add(step.label)
