"""What every test shares: root's tests are skipped, loudly, for everybody else."""

import os

import pytest
from hypothesis import settings

# A deadline measures how busy the machine is: bounds on time are for tests that are about time.
settings.register_profile("edge", deadline=None)
settings.load_profile("edge")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if "root" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs root and Linux namespaces"))
