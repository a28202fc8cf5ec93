"""The bank of ``examples/bank_transfer`` under kills: its own verdict, over real processes (W3)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.site import ROOT, report

LONG = bool(os.environ.get("MQTASKS_TEST_LONG"))
TRANSFERS, KILLS = (10_000, 50) if LONG else (300, 4)


@pytest.mark.timeout(900 if LONG else 180)
def test_w3_no_money_is_lost_or_made_while_workers_die(empty_mysql_url: str, redis_url: str):
    result = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples" / "bank_transfer" / "run.py")),
            *("--transfers", str(TRANSFERS), "--kills", str(KILLS)),
            *("--url", empty_mysql_url, "--redis", redis_url),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{KILLS} workers killed" in result.stdout
    assert "RIGHT" in result.stdout
    report(result.stdout)
