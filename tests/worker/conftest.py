"""A service, and a site of real processes, on one SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mqtasks.service import TaskService
from mqtasks.storage.factory import storage_from_url
from tests.support.site import Site, open_site


@pytest.fixture
def service(sqlite_url: str) -> Iterator[TaskService]:
    with TaskService(storage_from_url(sqlite_url)) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[Site]:
    with open_site(tmp_path, sqlite_url, shutdown_timeout=20) as made:
        yield made
