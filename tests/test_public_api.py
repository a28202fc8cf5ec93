"""The public API is frozen: a name can only be added or removed on purpose."""

from __future__ import annotations

import importlib
import subprocess
import sys

import mqtasks


def test_every_public_name_loads_from_its_home() -> None:
    loaded = {name: getattr(mqtasks, name) for name in mqtasks.__all__}

    assert all(value is not None for value in loaded.values())


def test_all_is_sorted_and_complete() -> None:
    homes = {name for names in mqtasks._HOMES.values() for name in names}

    assert homes | {"__version__"} == set(mqtasks.__all__)
    assert sorted(mqtasks.__all__) == mqtasks.__all__


def test_homes_export_what_the_package_promises() -> None:
    for home, names in mqtasks._HOMES.items():
        module = importlib.import_module(home)

        assert [name for name in names if not hasattr(module, name)] == []


def test_importing_the_package_loads_no_driver() -> None:
    code = (
        "import sys, mqtasks; "
        "print(sorted({'redis', 'rq', 'rich', 'pymysql', 'croniter', 'click'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"
