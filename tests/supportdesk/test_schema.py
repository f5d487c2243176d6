"""The API's description: made without a doubt, and served."""

import pytest
from django.core.management import call_command
from django.test import Client

pytestmark = pytest.mark.integration


def test_the_schema_is_whole_and_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """A door that it cannot describe, two shapes of one name: each is a warning, and a warning fails."""
    call_command("spectacular", validate=True, fail_on_warn=True)
    assert "/api/v1/desk/conversations/{thread_id}/takeover/:" in capsys.readouterr().out


def test_the_schema_is_served() -> None:
    answer = Client().get("/api/schema/")
    assert answer.status_code == 200
    assert "customers_export" in answer.content.decode()
