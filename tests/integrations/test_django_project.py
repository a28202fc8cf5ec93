"""What needs a Django project, and so a process of its own: `inside_django`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("django")
if find_spec("django.tasks") is None:  # before Django 6
    pytest.importorskip("django_tasks")

from tests.integrations.django_site import ROOT, Site


def test_everything_inside_of_a_project(tmp_path):
    site = Site(tmp_path)
    assert "shop" in site.manage("migrate")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(f"--rootdir={ROOT}", "tests/integrations/inside_django.py"),
        ],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert " skipped" not in ran.stdout
