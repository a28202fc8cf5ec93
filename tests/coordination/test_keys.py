"""The names that monitoring tools rely on."""

from __future__ import annotations

import pytest

from mqtasks.coordination.keys import Keys
from mqtasks.errors import InvalidArgument


def test_the_layout_is_an_interface():
    keys = Keys("shop")
    assert keys.runner("r:1") == "mqtasks:{shop}:runner:r:1"
    assert keys.heartbeat(17) == "mqtasks:{shop}:hb:17"
    assert keys.stats == "mqtasks:{shop}:stats"
    assert keys.sentinel == "mqtasks:{shop}:sentinel"
    assert keys.created == "mqtasks:{shop}:created"
    assert keys.allocated("r1") == "mqtasks:{shop}:allocated:r1"
    assert keys.revoked("r1") == "mqtasks:{shop}:revoked:r1"
    assert keys.events == "mqtasks:{shop}:events"
    assert keys.cron == "mqtasks:{shop}:cron"
    assert Keys().stats == "mqtasks:{default}:stats"


@pytest.mark.parametrize("namespace", ["a", "A.b_c-9", "x" * 64])
def test_namespaces(namespace):
    assert Keys(namespace).namespace == namespace


@pytest.mark.parametrize("namespace", ["", "x" * 65, "a b", "a{b}", "é", "a\n", "a:b", "a*"])
def test_bad_namespaces_are_refused(namespace):
    with pytest.raises(InvalidArgument, match=r"namespace=.*letters"):
        Keys(namespace)


@pytest.mark.parametrize("runner_id", ["host:1", "rünner 7", "a*b?[c]", "x" * 255])
def test_runner_ids_go_in_as_they_are(runner_id):
    assert Keys().runner(runner_id).endswith(f":runner:{runner_id}")


@pytest.mark.parametrize("runner_id", ["", "a\nb", "a\x00", "a\x7f", "\x85"])
@pytest.mark.parametrize("name", ["runner", "allocated", "revoked"])
def test_bad_runner_ids_are_refused(runner_id, name):
    with pytest.raises(InvalidArgument, match="runner_id="):
        getattr(Keys(), name)(runner_id)
