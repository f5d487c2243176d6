"""A value in a scenario's file, with its line and its name: so that an error can say where it is."""

from pathlib import Path
from typing import Any, NoReturn

import yaml


class NotAScenario(Exception):
    """A file cannot be used. The text names the file, the line, the field, and what to write."""


class Place:
    """One node of the file. `name` is the way to it, such as steps[2].expect.reply."""

    def __init__(self, file: Path, node: yaml.Node, name: str = "") -> None:
        self.file, self.node, self.name = file, node, name

    @classmethod
    def top(cls, file: Path) -> "Place":
        try:
            node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise NotAScenario(f"{file}: {error}") from error
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise NotAScenario(f"{file}{line}: this is no YAML: {error.problem}") from error
        except yaml.YAMLError as error:  # a character that YAML does not take
            raise NotAScenario(f"{file}: this is no YAML: {error}") from error
        if node is None:
            raise NotAScenario(f"{file}:1: the file is empty")
        return cls(file, node)

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def refuse(self, why: str) -> NoReturn:
        raise NotAScenario(f"{self.file}:{self.line}: {self.name + ': ' if self.name else ''}{why}")

    def under(self, node: yaml.Node, name: str) -> "Place":
        return Place(self.file, node, f"{self.name}.{name}" if self.name else name)

    def is_a(self, kind: str) -> bool:
        return bool(self.node.tag == f"tag:yaml.org,2002:{kind}")

    # ---- what it holds ----

    def fields(self, known: tuple[str, ...], needed: tuple[str, ...] = ()) -> "dict[str, Place]":
        found = self.entries()
        for name, place in found.items():
            if name not in known:
                place.refuse(f"there is no such field; the fields here are {', '.join(known)}")
        for name in needed:
            if name not in found:
                self.refuse(f"{name} is missing")
        return found

    def entries(self) -> "dict[str, Place]":
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse("write fields, as name: value")
        found: dict[str, Place] = {}
        for key, value in self.node.value:
            place = self.under(value, str(key.value))
            if key.value in found:
                place.refuse("this field is here twice")
            found[str(key.value)] = place
        return found

    def items(self) -> "list[Place]":
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse("write a list, each item on a line that begins with a dash")
        return [Place(self.file, item, f"{self.name}[{place}]") for place, item in enumerate(self.node.value, 1)]

    def text(self) -> str:
        if not self.is_a("str"):
            self.refuse(f"write a text; {self.node.value!r} has to stand in quotes" if self.scalar else "write a text")
        if not str(self.node.value).strip():
            self.refuse("the text is empty")
        return str(self.node.value)

    def texts(self) -> tuple[str, ...]:
        """One text or a list of them."""
        if isinstance(self.node, yaml.SequenceNode):
            return tuple(item.text() for item in self.items())
        return (self.text(),)

    def one_of(self, options: tuple[str, ...]) -> str:
        text = self.text()
        if text not in options:
            self.refuse(f"{text!r} is unknown; write one of {', '.join(options)}")
        return text

    def flag(self) -> bool:
        value = self.plain() if self.is_a("bool") else None
        if not isinstance(value, bool):
            self.refuse("write yes or no")
        return value

    def whole(self, least: int, most: int) -> int:
        value = self.plain() if self.is_a("int") else None
        if not isinstance(value, int) or not least <= value <= most:
            self.refuse(f"write a whole number from {least} to {most}")
        return value

    def plain(self) -> Any:
        try:
            return yaml.safe_load(yaml.serialize(self.node, Dumper=yaml.SafeDumper))
        except yaml.YAMLError as error:
            self.refuse(str(error))

    @property
    def scalar(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)
