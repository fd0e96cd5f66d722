import os

import hypothesis
import pytest

from coins import make_study
from etudes.core.spec import Study


def pytest_configure() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests go side by side, as runs do; read when PyTorch is imported
    hypothesis.settings.register_profile("house", deadline=None)  # other work on the machine is no failure
    hypothesis.settings.load_profile("house")


@pytest.fixture
def coins() -> Study:
    return make_study()


@pytest.fixture(autouse=True)
def _save_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tester's environment says, saving goes by the clock unless a test says otherwise."""
    monkeypatch.delenv("ETUDES_SAVE_SECONDS", raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who is given which tests: those of a file share what it makes, and of one over the catalogue those of a study."""
    for item in items:
        given = getattr(item, "callspec", None)
        study = (given.params.get("study") or given.params.get("name", "")) if given else ""
        group = f"{item.path.stem}-{study}" if item.path.stem == "test_every_study" else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
