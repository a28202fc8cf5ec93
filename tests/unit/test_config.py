"""Settings: where they come from, what they may be, and that secrets stay secret."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.config import OPTIONS, Settings, mask_url
from mqtasks.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    """Load settings from a folder and an environment that hold only what the test puts there."""

    def load(environ=None, **given):
        return Settings.load(environ=environ or {}, cwd=tmp_path, **given)

    return load


def refused(call, *parts):
    with pytest.raises(ConfigError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


# --- where values come from --------------------------------------------------------------------


def test_defaults_are_those_of_the_design(load):
    settings = load()
    assert settings.url == "sqlite:///mqtasks.db"
    assert (settings.redis, settings.hint_key) == (None, None)
    assert (settings.heartbeat_interval, settings.heartbeat_timeout) == (3.0, 15.0)
    assert (settings.fetch_interval, settings.safety_interval) == (1.0, 10.0)
    assert (settings.max_wait_tasks, settings.max_crashes) == (256, 3)
    assert (settings.leader_ttl, settings.leader_renew) == (5.0, 1.5)
    assert (settings.retention_success, settings.retention_failure) == (604_800.0, 2_592_000.0)
    assert settings.max_payload_bytes == 1_048_576
    assert settings.parallelism >= 5
    assert settings.cpu >= 1
    assert settings.memory > 2**20
    assert set(settings.origins.values()) == {"default"}


def test_each_source_wins_over_the_one_before(load, tmp_path):
    file = tmp_path / "mqtasks.toml"
    file.write_text(
        'url = "memory://"\nparallelism = 2\nfetch_interval = 2\nlabels = {zone = "a"}\n'
    )
    environ = {"MQTASKS_PARALLELISM": "3", "MQTASKS_FETCH_INTERVAL": "3s", "HOME": "/"}
    settings = load(environ, fetch_interval=4.0, redis=None)
    assert settings.url == "memory://"
    assert settings.parallelism == 3
    assert settings.fetch_interval == 4.0
    assert settings.labels == {"zone": "a"}
    assert settings.redis is None
    origins = settings.origins
    assert origins["url"] == origins["labels"] == str(file)
    assert origins["parallelism"] == "MQTASKS_PARALLELISM"
    assert origins["fetch_interval"] == "argument"
    assert origins["redis"] == origins["namespace"] == "default"


def test_own_file_goes_before_the_project_file(load, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.mqtasks]\nparallelism = 7\n[project]\nx = 1\n")
    assert load().parallelism == 7
    (tmp_path / "mqtasks.toml").write_text("parallelism = 8\n")
    assert load().parallelism == 8


def test_project_file_without_a_table_of_ours_is_ignored(load, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 1\n")
    assert set(load().origins.values()) == {"default"}


def test_named_file_goes_before_found_ones(load, tmp_path):
    (tmp_path / "mqtasks.toml").write_text("parallelism = 1\n")
    (tmp_path / "a.toml").write_text("parallelism = 2\n")
    (tmp_path / "b.toml").write_text("parallelism = 3\n")
    environ = {"MQTASKS_CONFIG": "a.toml"}
    assert load(environ).parallelism == 2
    assert load(environ, config=tmp_path / "b.toml").parallelism == 3


def test_environment_and_folder_of_the_process_are_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mqtasks.toml").write_text("parallelism = 5\n")
    monkeypatch.setenv("MQTASKS_NAMESPACE", "blue")
    settings = Settings.load()
    assert (settings.parallelism, settings.namespace) == (5, "blue")


def test_empty_variable_counts_as_not_set(load, tmp_path):
    (tmp_path / "mqtasks.toml").write_text('redis = "redis://a"\n')
    assert load({"MQTASKS_REDIS": " "}).redis == "redis://a"
    assert load({"MQTASKS_REDIS": "none"}).redis is None


def test_replace_keeps_origins_and_checks_again(load):
    settings = load({"MQTASKS_PARALLELISM": "3"}, namespace="blue")
    changed = settings.replace(redis="redis://a", namespace="green")
    assert (changed.parallelism, changed.redis, changed.namespace) == (3, "redis://a", "green")
    assert changed.origins["parallelism"] == "MQTASKS_PARALLELISM"
    assert changed.origins["redis"] == changed.origins["namespace"] == "argument"
    refused(lambda: settings.replace(parallelism=0), "parallelism=0 (argument)")


def test_settings_travel_to_other_processes(load):
    settings = load({"MQTASKS_LABELS": "zone=a"})
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.origins == settings.origins


# --- mistakes ----------------------------------------------------------------------------------


def test_unknown_key_is_named_with_file_and_nearest_name(load, tmp_path):
    file = tmp_path / "mqtasks.toml"
    file.write_text("heartbeat_intervall = 3\n")
    refused(load, "'heartbeat_intervall'", str(file), "did you mean 'heartbeat_interval'?")
    file.write_text("zzz = 3\n")
    refused(load, "'zzz'", "known settings: url, redis")


def test_unknown_argument_is_refused(load):
    refused(lambda: load(paralelism=1), "unknown setting 'paralelism'", "'parallelism'")


def test_variable_that_is_nearly_one_of_ours_is_logged(load, caplog):
    load({"MQTASKS_PARALELISM": "3"})
    assert "MQTASKS_PARALELISM is not used; did you mean MQTASKS_PARALLELISM?" in caplog.text


def test_variables_of_others_are_left_alone(load, caplog):
    load(
        {
            "MQTASKS_PORT": "tcp://10.0.0.1:80",
            "MQTASKS_WORKER_PARALLELISM": "3",
            "MQTASKS_CONFIG": "",
            "MQTASK_URL": "x",
        }
    )
    assert not caplog.text


@pytest.mark.parametrize("content", [b"parallelism = = 3", b"\xff\xfe"])
def test_unreadable_file_is_named(load, tmp_path, content):
    (tmp_path / "mqtasks.toml").write_bytes(content)
    refused(load, str(tmp_path / "mqtasks.toml"), "cannot be read")


def test_project_table_must_be_a_table(load, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nmqtasks = 3\n")
    refused(load, "[tool.mqtasks] must be a table")


def test_named_file_must_exist(load, tmp_path):
    refused(lambda: load(config="no.toml"), "config='no.toml'", str(tmp_path / "no.toml"))
    refused(lambda: load({"MQTASKS_CONFIG": "no.toml"}), "MQTASKS_CONFIG='no.toml'")


def test_bad_value_is_named_with_its_origin_and_remedy(load, tmp_path):
    file = tmp_path / "mqtasks.toml"
    file.write_text("parallelism = 'many'\n")
    refused(load, f"parallelism='many' ({file}): must be a whole number, at least 1")
    refused(
        lambda: load({"MQTASKS_PARALLELISM": "0"}),
        "parallelism='0' (MQTASKS_PARALLELISM): must be a whole number",
    )
    refused(lambda: load(parallelism=True), "parallelism=True (argument)")


GOOD = [
    ("heartbeat_interval", "500ms", 0.5),
    ("heartbeat_interval", 2, 2.0),
    ("heartbeat_interval", " 2.5 ", 2.5),
    ("retention_success", "7d", 604_800.0),
    ("retention_failure", "1d12h", 129_600.0),
    ("retention_failure", 0, 0.0),
    ("shutdown_timeout", "1h30m5s", 5_405.0),
    ("shutdown_timeout", "0", 0.0),
    ("max_payload_bytes", "16MiB", 16 * 2**20),
    ("max_payload_bytes", "1.5k", 1536),
    ("memory", "2 GB", 2 * 2**30),
    ("memory", 0, 0),
    ("cpu", "1.5", 1.5),
    ("cpu", 2, 2.0),
    ("max_wait_tasks", "0", 0),
    ("labels", "zone=a, gpu=yes", {"zone": "a", "gpu": "yes"}),
    ("labels", '{"zone": "a=b,c"}', {"zone": "a=b,c"}),
    ("labels", "", {}),
    ("resources", "gpu=2, licence=0.5", {"gpu": 2.0, "licence": 0.5}),
    ("resources", {"gpu": 1}, {"gpu": 1.0}),
    ("labels", {"a": ""}, {"a": ""}),
    ("log_level", "DEBUG", "debug"),
    ("log_format", "json", "json"),
    ("log_context", "Task", "task"),
    ("namespace", "team-a.b_1", "team-a.b_1"),
    ("url", " memory:// ", "memory://"),
]
BAD = [
    ("heartbeat_interval", 0),
    ("heartbeat_interval", -1),
    ("heartbeat_interval", float("nan")),
    ("heartbeat_interval", float("inf")),
    ("heartbeat_interval", "soon"),
    ("heartbeat_interval", "3 s"),
    ("heartbeat_interval", "3w"),
    ("heartbeat_interval", True),
    ("heartbeat_interval", None),
    ("retention_success", -1),
    ("shutdown_timeout", "-1"),
    ("max_payload_bytes", 0),
    ("max_payload_bytes", "lots"),
    ("max_payload_bytes", 1.5),
    ("memory", -1),
    ("memory", True),
    ("cpu", -0.5),
    ("cpu", "nan"),
    ("cpu", []),
    ("parallelism", 0),
    ("parallelism", 1.5),
    ("parallelism", "1.5"),
    ("max_crashes", 0),
    ("labels", "zone"),
    ("resources", "gpu"),
    ("resources", "gpu=many"),
    ("resources", {"gpu": 0}),
    ("resources", {"gpu": True}),
    ("resources", ["gpu"]),
    ("labels", "{"),
    ("labels", {"a": 1}),
    ("labels", {"": "a"}),
    ("labels", ["a"]),
    ("log_level", "loud"),
    ("log_format", 7),
    ("log_context", "all"),
    ("namespace", ""),
    ("namespace", "a b"),
    ("namespace", "{a}"),
    ("namespace", "x" * 65),
    ("url", ""),
    ("url", None),
    ("redis", ""),
    ("redis", 7),
]


@pytest.mark.parametrize(("name", "given", "value"), GOOD)
def test_value_is_understood(name, given, value):
    assert getattr(Settings(**{name: given}), name) == value


@pytest.mark.parametrize(("name", "given"), BAD)
def test_value_out_of_range_is_refused(name, given):
    refused(lambda: Settings(**{name: given}), f"{name}={given!r} (", "): must ")


def test_heartbeats_must_leave_room_for_lost_ones():
    Settings(heartbeat_interval=5.0)
    refused(
        lambda: Settings(heartbeat_interval=6.0),
        "heartbeat_timeout=15 (default) must be at least 3 x heartbeat_interval=6 (argument)",
        "raise heartbeat_timeout to 18 or lower heartbeat_interval to 5",
    )


def test_leader_renewals_must_leave_room_for_lost_ones():
    refused(lambda: Settings(leader_ttl=3.0), "leader_ttl=3 (argument)", "3 x leader_renew=1.5")


def test_bounds_between_settings_hold():
    refused(lambda: Settings(safety_interval=0.5), "safety_interval=0.5 (argument)")
    refused(lambda: Settings(fetch_timeout=16.0), "at least fetch_timeout=16 (argument)")


def test_defaults_follow_the_setting_that_bounds_them():
    assert Settings(fetch_interval=30.0).safety_interval == 30.0
    short = Settings(heartbeat_interval=1.0, heartbeat_timeout=5.0)
    assert short.fetch_timeout == 5.0
    assert short.replace(heartbeat_timeout=20.0).fetch_timeout == 10.0


# --- what people see ---------------------------------------------------------------------------


def test_every_option_is_described_and_has_its_variable():
    assert len({known.name for known in OPTIONS}) == len(OPTIONS) >= 24
    for known in OPTIONS:
        assert known.meaning.endswith(".")
        assert known.variable == f"MQTASKS_{known.name.upper()}"
        assert known.parse(known.default) == known.default


def test_secrets_are_masked_in_every_view():
    settings = Settings(
        url="mysql://app:s3cr3t@db/tasks", redis="redis://:s3cr3t@r:6379/0", hint_key="s3cr3t"
    )
    shown = settings.masked()
    assert shown["url"] == "mysql://app:***@db/tasks"
    assert shown["redis"] == "redis://:***@r:6379/0"
    assert shown["hint_key"] == "***"
    assert shown["parallelism"] == settings.parallelism
    assert Settings().masked()["hint_key"] is None
    for text in (repr(settings), str(settings), str(shown)):
        assert "s3cr3t" not in text


def test_secrets_are_masked_in_errors():
    message = refused(lambda: Settings(hint_key=["s3cr3t"]), "hint_key='***'")  # type: ignore[arg-type]
    assert "s3cr3t" not in message


def test_repr_shows_what_was_set():
    assert repr(Settings(parallelism=3)) == "Settings(parallelism=3)"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("mysql://u:p@h/d", "mysql://u:***@h/d"),
        ("mysql://u:p@ss/w:rd?@h/d", "mysql://u:***@h/d"),
        ("mysql://u:@h/d", "mysql://u:***@h/d"),
        ("mysql://u@h/d", "mysql://u@h/d"),
        ("mysql+pymysql://u:p%40@h:3306/d?x=1", "mysql+pymysql://u:***@h:3306/d?x=1"),
        ("redis://:p@h", "redis://:***@h"),
        (
            "redis://h/0?password=p&x=1&sentinel_password=q",
            "redis://h/0?password=***&x=1&sentinel_password=***",
        ),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("memory://", "memory://"),
        ("no url at all", "no url at all"),
        ("", ""),
    ],
)
def test_mask_url(url, masked):
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    "mistyped",
    [
        "u:hidden@h/db",
        ":hidden@h/0",
        "mysql//u:hidden@h/db",
        "mysql:/u:hidden@h/db",
        "mysql:u:hidden@h/db",
        "mysql://u:hidden/db",
        "mysql://u@h/db?password=hidden",
        "mysql://u:s[hidden@h/db",
        "mysql://u:a@hidden@h/db",
    ],
)
def test_a_mistyped_url_does_not_show_its_password(mistyped):
    assert "hidden" not in mask_url(mistyped)
    assert mask_url(mask_url(mistyped)) == mask_url(mistyped)


@pytest.mark.parametrize(
    "url", ["mysql://u@h:3306/d", "redis://[::1]:6379/0", "redis+sentinel://a:1,b:2/m/0"]
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    assert mask_url(url) == url


@given(user=st.text("abc", max_size=5), password=st.text(min_size=1, max_size=20), tail=st.text())
def test_mask_url_never_lets_a_password_through(user, password, tail):
    secret = f"<{password}>"
    masked = mask_url(f"mysql://{user}:{secret}@host/{tail}")
    assert secret not in masked.removesuffix(tail)
    assert mask_url(masked) == masked


@given(text=st.text())
def test_mask_url_takes_any_text(text):
    assert isinstance(mask_url(text), str)


def test_every_duration_says_that_it_is_in_seconds():
    for known in OPTIONS:
        if isinstance(known.default, float) and known.name != "cpu":
            assert known.meaning.startswith(("Seconds", "Longest wait")), known.name
