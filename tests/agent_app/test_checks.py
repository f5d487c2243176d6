"""What `manage.py check` says, as an operator runs it."""

import os
import subprocess
import sys
from pathlib import Path
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


@pytest.mark.parametrize(("name", "warned"), [("there", False), ("there/to/be/made", False), ("file/media", True)])
def test_a_folder_for_files_that_cannot_be_written_is_said(tmp_path: Path, name: str, warned: bool) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    done = check(MEDIA_ROOT=str(tmp_path / name))
    assert done.returncode == 0, done.stderr
    assert (f"MEDIA_ROOT={str(tmp_path / name)!r} cannot be written" in done.stderr) is warned


@pytest.mark.skipif(os.geteuid() == 0, reason="not for root, who may write everywhere")
def test_so_is_one_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in check(MEDIA_ROOT=str(tmp_path)).stderr
