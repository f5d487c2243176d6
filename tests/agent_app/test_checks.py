"""What `manage.py check` says, as an operator runs it."""

import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.integration

PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "0123456789 the quick brown fox jumps over the lazy dog",
    "ALLOWED_HOSTS": "desk.example.com",
}


def check(*options: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "check", *options]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300)


def test_letters_to_the_log_are_a_warning_before_a_deployment() -> None:
    done = check("--deploy", **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "agent_app.W001" in done.stderr
    assert "EMAIL_HOST" in done.stderr
    sent = check("--deploy", EMAIL_HOST="mail.example.com", **PRODUCTION)
    assert sent.returncode == 0, sent.stderr
    assert "agent_app.W001" not in sent.stderr
