from collections.abc import Iterator

import pytest

from tests.desk import Desk


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One running desk for the tests that only look; whoever ends or breaks one starts one of their own."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.start("--prepare")
    yield desk
    desk.stop()
