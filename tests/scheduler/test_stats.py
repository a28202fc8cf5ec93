"""The leader's snapshot has the documented fields."""

from __future__ import annotations

from mqtasks._version import __version__
from mqtasks.coordination.base import RunnerBeat


def documented(text: str) -> set[str]:
    """Return the fields of the stats hash that the reference page names."""
    section = text.split("## Stats hash")[1].split("\n## ", maxsplit=1)[0]
    return {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}


def test_the_snapshot_has_every_documented_field_and_no_other(world, clock, pytestconfig):
    page = (pytestconfig.rootpath / "docs/reference/redis-keys.md").read_text()
    leader = world.leader()
    world.runner(parallelism=4, max_wait_tasks=0)
    world.create(10)
    leader.run_once()
    clock.advance(2)
    world.beat("r1")
    leader.parts.stats.run_once()
    clock.advance(2)
    leader.parts.stats.run_once()
    generic = {name.replace("work", "{code}") for name in world.redis.stats()}
    assert generic == documented(page)


def test_its_figures_are_those_of_the_moment(world, clock):
    leader = world.leader("s1")
    world.runner(parallelism=4, max_wait_tasks=0)
    world.create(10)
    world.create(2, delay_duration=60)
    leader.run_once()
    clock.advance(2)
    leader.parts.stats.run_once()
    stats = world.redis.stats()
    expected = {
        "leader": "s1",
        "term": 1,
        "version": __version__,
        "at_ms": clock.now_ms(),
        "runners": 1,
        "slots": 4,
        "free_slots": 0,
        "scheduled": 2,
        "created": 6,
        "running": 4,
        "cancel_requested": 0,
        "waiting": 0,
        "oldest_created_s": 2.0,
        "executor:work:created": 6,
        "executor:work:running": 4,
    }
    assert {name: stats[name] for name in expected} == expected


def test_rates_compare_two_snapshots(world, clock):
    leader = world.leader()
    world.runner()

    def beat(completed: int, failed: int) -> None:
        total = RunnerBeat(
            runner_id="r1", generation=1, completed_total=completed, failed_total=failed
        )
        world.redis.beat_runners([total], 60)

    beat(100, 5)
    leader.parts.stats.run_once()
    assert "completed_per_s" not in world.redis.stats()
    world.create(20)
    beat(140, 7)
    clock.advance(2)
    leader.parts.stats.run_once()
    stats = world.redis.stats()
    assert stats["created_per_s"] == 10.0
    assert stats["completed_per_s"] == 20.0
    assert stats["failed_per_s"] == 1.0


def test_a_restarted_runner_does_not_make_rates_negative(world, clock):
    leader = world.leader()
    world.runner()
    world.redis.beat_runners([RunnerBeat(runner_id="r1", generation=1, completed_total=500)], 60)
    leader.parts.stats.run_once()
    world.redis.beat_runners([RunnerBeat(runner_id="r1", generation=2, completed_total=4)], 60)
    clock.advance(2)
    leader.parts.stats.run_once()
    assert world.redis.stats()["completed_per_s"] == 2.0


def test_it_expires_when_nobody_leads(world, clock):
    leader = world.leader()
    assert leader.parts.stats.run_once() == 2.0
    assert world.redis.stats()
    leader.parts.election.resign()
    leader.parts.stats.run_once()
    clock.advance(6.1)
    assert world.redis.stats() == {}


def test_a_redis_that_is_away_costs_only_the_rates(world, clock):
    leader = world.leader()
    leader.parts.stats.run_once()
    world.redis.close()
    clock.advance(2)
    snapshot = leader.parts.stats.snapshot(leader.parts.election.leadership())
    assert "completed_per_s" not in snapshot
    assert snapshot["runners"] == 0
