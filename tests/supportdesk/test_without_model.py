"""The default install answers without a language model, and pays nothing for the one it could have."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.desk import CHECKOUT

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# What `requirements/llm` brings, and our own modules that need it.
OF_A_MODEL = (
    "pydantic_ai", "pydantic_graph", "openai", "anthropic", "genai_prices", "httpx2", "tiktoken",
    "agent_app.agent.llm", "agent_app.agent.model", "agent_app.agent.gate", "agent_app.agent.claims",
    "agent_app.agent.prompt",
)  # fmt: skip
START = """
import json, os, sys, time
began = time.process_time()
os.environ["DJANGO_SETTINGS_MODULE"] = "supportdesk.settings"
import django
django.setup()
import supportdesk.asgi
from agent_app.tools.registry import build_agent
agent = build_agent()
print(json.dumps({
    "modules": sorted(sys.modules),
    "seconds": time.process_time() - began,
    "responder": type(agent.responder).__name__,
}))
"""
# The same with every package of the model's missing, as after `requirements/install.py base`.
WITHOUT = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OF_A_MODEL[:7]!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def started(script: str, **settings: str) -> dict[str, Any]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_")} | settings
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def test_the_default_start_imports_nothing_of_a_model() -> None:
    result = started(START)
    assert result["responder"] == "OfflineResponder"
    assert [name for name in OF_A_MODEL if name in result["modules"]] == []


def test_the_default_install_starts_without_the_packages_and_as_fast() -> None:
    """CPU seconds of the fastest of three starts, with and without the packages installed."""
    # By turns: what else runs on the machine makes each second of CPU longer, for both alike.
    pairs = [(started(START)["seconds"], started(WITHOUT + START)["seconds"]) for _ in range(3)]
    there, missing = (min(seconds) for seconds in zip(*pairs, strict=True))
    print(f"start: {there:.2f} s with the packages there, {missing:.2f} s without")  # noqa: T201 - pytest -s
    assert there < missing * 1.5


def test_a_model_without_its_packages_stops_the_start_with_a_line() -> None:
    with pytest.raises(AssertionError, match=r"AGENT_MODEL needs packages .*requirements/install\.py llm"):
        started(WITHOUT + START, AGENT_MODEL="openai-chat:x")
