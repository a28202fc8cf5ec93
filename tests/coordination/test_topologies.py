"""Cluster, Sentinel, TLS, passwords and sockets: the same ports over other ways in."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from mqtasks.coordination.factory import coordination_from_url
from tests.coordination.harness import Recorder, beat, eventually, use_everything
from tests.support.servers import RedisServer, free_port


def low_port() -> int:
    """Return a free port whose cluster bus, 10,000 above, is a port too."""
    return next(port for port in iter(free_port, None) if port < 55_000)


class ClusterNode(RedisServer):
    def command(self):
        return [*super().command(), "--cluster-enabled yes", "--cluster-node-timeout 1000"]


def answers(client) -> bool:
    with contextlib.suppress(redis.ConnectionError), client:
        return bool(client.ping())
    return False


class SentinelServer(RedisServer):
    """Watches one primary under the name ``main``."""

    primary = 0

    def command(self):
        config = Path(self.folder) / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nprotected-mode no\n"
            f"sentinel monitor main 127.0.0.1 {self.primary} 1\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 2000\n"
        )
        return [super().command()[0], str(config), "--sentinel"]

    def ready(self):
        return answers(redis.Redis(port=self.port))


class PasswordServer(RedisServer):
    """Listens on a socket file too, and wants a password."""

    def command(self):
        return [*super().command(), "--requirepass s3cr3t/zebra", "--unixsocket r.sock"]

    def ready(self):
        return answers(redis.Redis(port=self.port, password="s3cr3t/zebra"))


@pytest.fixture
def cluster() -> Iterator[list[ClusterNode]]:
    """Two nodes that share the slots."""
    with ClusterNode.start(low_port()) as one, ClusterNode.start(low_port()) as two:
        nodes = [one, two]
        for node, (first, last) in zip(nodes, [(0, 8191), (8192, 16383)], strict=True):
            with redis.Redis(port=node.port) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", str(nodes.index(node) + 1))
        with redis.Redis(port=one.port) as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port)
        for node in nodes:
            with redis.Redis(port=node.port) as client:

                def agreed(client=client) -> bool:
                    info = client.execute_command("CLUSTER", "INFO")
                    return b"cluster_state:ok" in info and b"cluster_known_nodes:2" in info

                assert eventually(agreed)
        yield nodes


def test_cluster(cluster):
    one, two = cluster
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{one.port},127.0.0.1:{two.port}"
    for namespace in ("default", "shop", "other", "x.y-z_1"):  # on one node and on the other
        with coordination_from_url(url, namespace) as coordination:
            use_everything(coordination)


def test_a_cluster_whose_nodes_are_away_is_found_again(cluster):
    one, two = cluster
    url = f"redis+cluster://127.0.0.1:{one.port},127.0.0.1:{two.port}"
    with coordination_from_url(url) as coordination:
        gap = Recorder()
        coordination.notifier.subscribe(["a"], Recorder(), gap)
        assert coordination.notifier.publish("a")
        assert coordination.heartbeats.continuity() == 0.0
        for node in cluster:
            node.kill()
        assert not coordination.notifier.publish("a")
        assert coordination.heartbeats.continuity() == 0.0
        for node in cluster:
            node.restart()  # its nodes.conf has kept the slots
        assert gap.wait(2, timeout=20)
        assert eventually(lambda: coordination.heartbeats.beat_runners([beat()], 15), 20)


def test_a_slot_that_moves_is_followed(cluster):
    with coordination_from_url(f"redis+cluster://127.0.0.1:{cluster[0].port}") as coordination:
        assert coordination.heartbeats.beat_runners([beat("r1")], 15)
        clients = [redis.Redis(port=node.port) for node in cluster]
        ids = [client.execute_command("CLUSTER", "MYID") for client in clients]
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", "{default}")
        owner = 0 if slot <= 8191 else 1
        clients[owner].flushall()
        for client in (clients[1 - owner], clients[owner]):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1 - owner])
        assert eventually(lambda: coordination.heartbeats.beat_runners([beat("r1")], 15))
        assert clients[1 - owner].dbsize() == 1
        for client in clients:
            client.close()


@pytest.fixture
def sentinel(own_redis) -> Iterator[SentinelServer]:
    SentinelServer.primary = own_redis.port
    with SentinelServer.start() as server:
        yield server


def test_sentinel(own_redis, sentinel):
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main/2"
    with coordination_from_url(url) as coordination:
        use_everything(coordination)
        assert coordination.heartbeats.beat_runners([beat()], 15)
    with redis.Redis(port=own_redis.port, db=2) as client:
        assert client.exists("mqtasks:{default}:runner:r1")


def test_sentinel_without_that_service(sentinel, caplog):
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/elsewhere"
    with coordination_from_url(url) as coordination:
        assert not coordination.notifier.publish("a")
    assert "elsewhere" in caplog.text


@pytest.fixture
def replica(own_redis) -> Iterator[RedisServer]:
    with RedisServer.start() as server, redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", own_redis.port)
        assert eventually(lambda: client.info("replication")["master_link_status"] == "up")
        yield server


def test_p3_a_failover_is_followed_and_restarts_the_watch(own_redis, replica, sentinel):
    with redis.Redis(port=replica.port) as client:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        with coordination_from_url(url) as coordination:
            got, gap = Recorder(), Recorder()
            coordination.notifier.subscribe(["a"], got, gap)
            coordination.heartbeats.continuity()
            assert coordination.heartbeats.continuity() > 0.0
            own_redis.kill()
            assert not coordination.notifier.publish("a")
            assert gap.wait(2, timeout=20)
            assert eventually(lambda: coordination.heartbeats.beat_runners([beat()], 15), 20)
            assert coordination.heartbeats.continuity() == 0.0
            assert coordination.notifier.publish("a")
            assert got.wait()
            assert client.exists("mqtasks:{default}:runner:r1")


class TLSServer(RedisServer):
    """Speaks TLS only, with a certificate of its own for ``localhost``."""

    def command(self):
        subprocess.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
            " -keyout key.pem -out cert.pem -subj /CN=localhost"
            " -addext subjectAltName=DNS:localhost",
            cwd=self.folder,
            shell=True,
            check=True,
            capture_output=True,
        )
        plain = [part for part in super().command() if not part.startswith("--port")]
        files = "--tls-cert-file cert.pem", "--tls-key-file key.pem", "--tls-ca-cert-file cert.pem"
        return [*plain, "--port 0", f"--tls-port {self.port}", "--tls-auth-clients no", *files]

    def ready(self):
        client = redis.Redis(port=self.port, ssl=True, ssl_ca_certs=f"{self.folder}/cert.pem")
        return answers(client)


def test_tls(caplog):
    with TLSServer.start() as server:
        url = f"rediss://localhost:{server.port}?ssl_ca_certs={server.folder}/cert.pem"
        with coordination_from_url(url) as coordination:
            use_everything(coordination)
        with coordination_from_url(f"rediss://localhost:{server.port}") as coordination:
            assert not coordination.notifier.publish("a")
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_password_and_socket():
    with PasswordServer.start() as server:
        secret = "s3cr3t%2Fzebra"
        for url in (
            f"redis://:{secret}@127.0.0.1:{server.port}/3",
            f"valkey://default:{secret}@127.0.0.1:{server.port}",
            f"unix://{server.folder}/r.sock?password={secret}&db=1",
        ):
            with coordination_from_url(url) as coordination:
                use_everything(coordination)
