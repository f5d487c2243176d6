"""docs/adding-a-tool.md is followed to the letter: its first example, named in AGENT_TOOLS, is a tool."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from agent_app.agent.events import ToolResult, TurnContext
from agent_app.tools.registry import build_agent
from tests.desk import CHECKOUT

pytestmark = pytest.mark.unit

GUIDE = (CHECKOUT / "docs" / "adding-a-tool.md").read_text()


async def test_ten_lines_make_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    example = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    setting = re.search(r"AGENT_TOOLS=(\S+)", GUIDE)
    assert example
    assert setting
    assert len([line for line in example[1].splitlines() if line.strip()]) <= 10
    (tmp_path / "shop_tools.py").write_text(example[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.AGENT_TOOLS = setting[1].split(",")
    made = build_agent().tools["opening_today"]
    assert made.schema["required"] == ["town"]
    context = TurnContext("t", "s", "ai", None, False, {}, (), 0, "ESC-1", time.monotonic() + 30, 8000)
    made = type(made)(made.name, made.function, made.policy)  # type: ignore[call-arg,attr-defined]  # without the audit's database
    outcome = await made.call(context, '{"town": "Galway"}')
    assert isinstance(outcome, ToolResult)
    assert outcome.value == {"town": "Galway", "open": "09:00 to 18:00"}
