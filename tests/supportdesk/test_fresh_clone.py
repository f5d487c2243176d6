"""On a machine with nothing but Python, `make run` in a fresh clone answers; the second time within 5 s."""

import subprocess

import pytest

from tests.desk import CHECKOUT

pytestmark = pytest.mark.slow


def test_make_run_in_a_fresh_clone() -> None:
    done = subprocess.run([CHECKOUT / "tests" / "fresh_clone.sh"], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert "second start" in done.stdout
