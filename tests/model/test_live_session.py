"""Lost sessions are rebuilt, ended ones are not, in every order of the steps around the store."""

import pytest

from tests.model.checker import Verdict, explore
from tests.model.live_session import Model, World, settled

pytestmark = pytest.mark.unit


def check(model: Model) -> Verdict:
    verdict = explore(World(), model.steps, settled)
    print(verdict)  # noqa: T201 - pytest -s shows how much was explored
    return verdict


def test_a_closed_chat_keeps_no_live_session() -> None:
    verdict = check(Model())
    assert verdict.violation is None, str(verdict)


@pytest.mark.parametrize(
    "model", [pytest.param(Model(looks_again=False), id="look"), pytest.param(Model(commits_first=False), id="order")]
)
def test_without_the_second_look_or_the_order_it_would(model: Model) -> None:
    assert check(model).violation == "a closed chat has a live session"
