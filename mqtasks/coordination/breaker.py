"""A circuit breaker: while the server is away, callers pay microseconds, not connect timeouts."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from mqtasks.errors import CoordinationUnavailable

_log = logging.getLogger("mqtasks.coordination")
_T = TypeVar("_T")

_FIRST_PROBE: Final = 0.05  # seconds; most outages are one cut connection
_PROBE_INTERVAL: Final = 0.5
_JOIN_TIMEOUT: Final = 5.0


class CircuitBreaker:
    """Runs calls while the server answers; refuses them at once after one has failed.

    From the first failure on, one background thread probes about twice a second and lets calls
    through again once a probe has succeeded. Each outage is logged once when it begins and once
    when it ends; so is each kind of call that the server refuses although it is reachable.

    Args:
        server: How logs name the server; without secrets.
        probe: Raises while the server is away.
        is_outage: Whether an error means that the server is away, rather than that it refused.
        describe: An error as text without secrets.
    """

    def __init__(
        self,
        server: str,
        probe: Callable[[], object],
        is_outage: Callable[[Exception], bool],
        describe: Callable[[Exception], str],
    ) -> None:
        self._server = server
        self._probe = probe
        self._is_outage = is_outage
        self._describe = describe
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._refusal: str | None = None
        self._prober: threading.Thread | None = None
        self._failing: set[str] = set()
        self.outages = 0
        """How often the server went away; whoever sees it change has missed something."""

    @property
    def is_open(self) -> bool:
        """Whether calls are refused now."""
        return self._refusal is not None

    def call(self, operation: str, function: Callable[[], _T]) -> _T:
        """Return ``function()``; raise CoordinationUnavailable if it fails or is not tried."""
        if self._refusal is not None:
            self._ensure_prober()
            raise CoordinationUnavailable(self._refusal)
        try:
            result = function()
        except Exception as error:  # hints never fail their caller, whatever the client raises
            if self._is_outage(error):
                self._trip(error)
            else:
                self._refused(operation, error)
            raise CoordinationUnavailable(
                f"redis {self._server}: {operation} failed: {self._describe(error)}"
            ) from error
        if self._failing:
            self._failing.discard(operation)
        return result

    def close(self) -> None:
        """Refuse every further call and join the prober. May be called twice."""
        with self._lock:
            self._closing.set()
            self._refusal = f"redis {self._server}: closed"
            prober = self._prober
        if prober is not None and prober is not threading.current_thread():
            prober.join(_JOIN_TIMEOUT)

    def _trip(self, error: Exception) -> None:
        with self._lock:
            if self._refusal is not None:
                return
            self.outages += 1
            self._refusal = f"redis {self._server} is away: {self._describe(error)}"
        _log.warning(
            "redis %s is away (%s): going on without hints, retrying twice a second",
            self._server,
            self._describe(error),
        )
        self._ensure_prober()

    def _refused(self, operation: str, error: Exception) -> None:
        with self._lock:
            known = operation in self._failing
            self._failing.add(operation)
        if not known:
            _log.warning(
                "redis %s refuses %s (%s): going on without; logged once until it works again",
                self._server,
                operation,
                self._describe(error),
            )

    def _ensure_prober(self) -> None:
        """Start the prober, also when a fork has left it behind."""
        prober = self._prober
        if (prober is not None and prober.is_alive()) or self._closing.is_set():
            return
        with self._lock:
            if self._prober is prober and self._refusal is not None:
                self._prober = threading.Thread(
                    target=self._probe_until_back, name="mqtasks-redis-probe", daemon=True
                )
                self._prober.start()

    def _probe_until_back(self) -> None:
        began = time.monotonic()
        delay = _FIRST_PROBE
        while not self._closing.wait(delay * random.uniform(0.8, 1.2)):
            delay = _PROBE_INTERVAL
            try:
                self._probe()
            except Exception as error:  # noqa: BLE001 - any failure means "not back yet"
                with self._lock:
                    if not self._closing.is_set():
                        self._refusal = f"redis {self._server} is away: {self._describe(error)}"
                continue
            with self._lock:
                if self._closing.is_set():
                    return
                self._refusal = None
                self._prober = None
            _log.info("redis %s is back after %.1f s", self._server, time.monotonic() - began)
            return
