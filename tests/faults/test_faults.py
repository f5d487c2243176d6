"""The promises under faults: a short run here, minutes in `make test-all`, as long as wanted in `make soak`."""

import os
import secrets
import tempfile
from pathlib import Path

import pytest

from tests.faults.driver import soak, tell
from tests.faults.postgres import programs

pytestmark = pytest.mark.integration

DATABASE = "postgres" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "sqlite"


@pytest.mark.parametrize("seconds", [15, pytest.param(150, marks=pytest.mark.slow)])
async def test_every_promise_holds_under_faults(seconds: float) -> None:
    if DATABASE == "postgres" and programs() is None:
        pytest.skip("PostgreSQL's programs are not installed, so that it cannot be restarted")
    # Not in pytest's folder, which another run of it, beside this one, closes to PostgreSQL's own user.
    with tempfile.TemporaryDirectory() as folder:
        ledger = await soak(Path(folder), DATABASE, seconds, secrets.token_hex(4), tell)
    assert ledger.faults.total() > 0
    assert ledger.counts["acks"] > 0
    assert ledger.kept, ledger.report()
