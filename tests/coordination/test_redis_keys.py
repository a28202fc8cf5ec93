"""What lies in Redis: names, types and times to live; what it costs; what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mqtasks.coordination.base import TaskBeat
from mqtasks.coordination.factory import coordination_from_url
from mqtasks.coordination.fields import EXECUTOR_STATS_FIELDS, RUNNER_FIELDS, STATS_FIELDS
from tests.coordination.harness import Recorder, beat, eventually, use_everything

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "redis-keys.md"


def test_every_key_has_the_documented_name_and_a_ttl(redis_world):
    redis_world.heartbeats.beat_runners([beat("r1"), beat("r2")], 15)
    redis_world.heartbeats.beat_tasks([TaskBeat(17, "r1", 2)], 15)
    redis_world.heartbeats.publish_stats({"leader": "s1"}, 10)
    redis_world.heartbeats.continuity()
    prefix = f"mqtasks:{{{redis_world.namespace}}}:"
    with redis_world.client() as client:
        types = {key.decode().removeprefix(prefix): client.type(key) for key in client.scan_iter()}
        assert types == {
            "runner:r1": b"hash",
            "runner:r2": b"hash",
            "hb:17": b"string",
            "stats": b"hash",
            "sentinel": b"string",
        }
        assert client.get(redis_world.keys.heartbeat(17)) == b"r1:2"
        for key in client.scan_iter():
            assert client.pttl(key) > 0, key
        assert 14_000 < client.pttl(redis_world.keys.runner("r1")) <= 15_000


def test_the_keys_of_another_installation_are_not_ours(redis_world):
    redis_world.heartbeats.beat_runners([beat("r1")], 15)
    with redis_world.client() as client:
        client.hset("mqtasks:{other}:runner:r2", mapping={"runner_id": "r2", "generation": "1"})
        client.set(redis_world.keys.runner("r1") + ":x", "not a hash")
        client.delete(redis_world.keys.runner("r1") + ":x")
        client.hset(redis_world.keys.runner("odd"), "by", "something else")
        assert redis_world.heartbeats.runner_details() == [beat("r1")]


def commands(client):
    return client.info("stats")["total_commands_processed"]


def test_the_command_budget(own_world):
    """An idle runner that beats every 3 s and listens stays below one command per second."""
    got = Recorder()
    own_world.notifier.subscribe(["a"], got)
    own_world.heartbeats.beat_runners([beat()], 15)
    with own_world.client() as client:
        before = commands(client)
        own_world.heartbeats.beat_runners([beat()], 15)
        per_beat = commands(client) - before - 1
        assert per_beat == 2
        before = commands(client)
        assert not got.wait(timeout=1.5)
        assert commands(client) - before - 1 == 0  # PING only after 5 s of silence
    assert per_beat / 3 + 1 / 5 < 1


def test_nothing_is_created_by_hints(redis_world):
    redis_world.notifier.subscribe(["a"], Recorder())
    redis_world.notifier.publish("a")
    with redis_world.client() as client:
        assert client.dbsize() == 0
        assert client.pubsub_numsub(redis_world.keys.listener) == [
            (redis_world.keys.listener.encode(), 1)
        ]
        redis_world.mine.close()
        assert eventually(lambda: client.pubsub_numsub("a") == [(b"a", 0)])


def rows(heading: str) -> dict[str, str]:
    """Return first column -> rest of the table under a heading of the page."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, heading
    found = re.findall(r"^\| `([^`]+)` +\| (.+) \|$", section[1], re.MULTILINE)
    return dict(found)


def test_the_page_explains_every_field():
    assert list(rows("Runner hash")) == list(RUNNER_FIELDS)
    assert list(rows("Stats hash")) == [*STATS_FIELDS, *EXECUTOR_STATS_FIELDS]


def test_the_acl_of_the_page_suffices(own_world, caplog):
    rules = re.search(r"ACL: `([^`]+)`", PAGE.read_text(encoding="utf-8"))
    assert rules
    with own_world.client() as client:
        client.execute_command("ACL", "SETUSER", "tasks", "reset", "on", ">pw", *rules[1].split())
    url = own_world.url.replace("://", "://tasks:pw@")
    with coordination_from_url(url) as coordination:
        use_everything(coordination)
    assert caplog.records == []


@pytest.mark.parametrize("heading", ["Keys", "Channels"])
def test_the_page_names_what_the_code_names(heading):
    from mqtasks.coordination.keys import Keys

    keys = Keys("{ns}".strip("{}"))
    names = {
        "Keys": [keys.runner("<id>"), keys.heartbeat(0), keys.stats, keys.sentinel],
        "Channels": [
            keys.created,
            keys.allocated("<runner>"),
            keys.revoked("<runner>"),
            keys.events,
            keys.cron,
            keys.waiting,
            keys.ended,
            keys.listener,
        ],
    }[heading]
    documented = [name.replace("<task id>", "0") for name in rows(heading)]
    assert documented == names


def test_importing_coordination_does_not_import_redis():
    code = (
        "import sys; from mqtasks.coordination import coordination_from_url as f; f(None);"
        "print([m for m in sys.modules if m.split('.')[0] in ('redis', 'hiredis')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
