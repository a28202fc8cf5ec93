"""``python -m mqtasks.worker.lease_process``: keeps the lease of one embedded runner.

It inherits a channel and a board. It ends with its parent: in order when told so, and otherwise it
first reports the runner dead, so that its tasks move at once.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Final

from mqtasks.errors import StorageError
from mqtasks.loop import Loop, LoopGroup, LoopLike
from mqtasks.runtime import Runtime
from mqtasks.storage.contract import RescueReport
from mqtasks.worker.beats import Beats
from mqtasks.worker.board import Board
from mqtasks.worker.channel import Channel
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.messages import Keep, Stopped, settings_from_dict
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.parent import ignore_stop_signals, wait_for_end
from mqtasks.worker.ward import Ward

_log = logging.getLogger("mqtasks.lease")
_STOP_TIMEOUT: Final = 5.0


def main() -> int:
    """Keep the lease until the channel ends; return the exit code."""
    ignore_stop_signals()
    channel = Channel.from_fd(int(sys.argv[1]))
    board = Board.attach(int(sys.argv[2]))
    keep = channel.receive()
    if not isinstance(keep, Keep):
        return 1
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = RunnerOptions.from_dict(keep.options)
    with Runtime.open(settings_from_dict(keep.settings), check_schema=False) as runtime:
        return _keep_lease(runtime, channel, keep, Ward(keep.record, board, pid=keep.pid), options)


def _keep_lease(
    runtime: Runtime, channel: Channel, keep: Keep, ward: Ward, options: RunnerOptions
) -> int:
    service = runtime.service
    keeper = LeaseKeeper(service.storage, options, runtime.clock, _log)
    keeper.add(ward)
    renewal = options.renewal_interval
    loops: list[LoopLike] = [Loop("lease", keeper.run_once, renewal, retry_interval=renewal)]
    if keep.beats:
        beats = Beats(service.heartbeats, [ward], options, runtime.clock)
        loops.append(Loop("beats", beats.run_once, options.heartbeat_interval))
    group = LoopGroup(loops)
    group.start()
    dead = threading.Event()

    def watch() -> None:
        wait_for_end(ward.pid)
        dead.set()
        channel.shut()

    threading.Thread(target=watch, name="mqtasks-parent", daemon=True).start()
    goodbye = channel.receive()
    group.stop(_STOP_TIMEOUT)
    if isinstance(goodbye, Stopped):
        return 0
    if not dead.wait(_STOP_TIMEOUT):
        _log.error("process %d lives, but has closed its channel to the lease process", ward.pid)
        return 1
    report = _bury(keeper, ward, options)
    service.heartbeats.forget_runner(ward.runner_id)
    if report is not None:
        service.hint_rescued(report)
    return 0


def _bury(keeper: LeaseKeeper, ward: Ward, options: RunnerOptions) -> RescueReport | None:
    """Report the dead; once its lease has lapsed the scheduler sees for itself."""
    wait = threading.Event().wait
    for _ in range(max(1, round(options.heartbeat_timeout / options.retry_interval))):
        try:
            return keeper.bury(ward)
        except StorageError as error:
            _log.warning("runner %s died, and could not be reported: %s", ward.runner_id, error)
            wait(options.retry_interval)
    return None


if __name__ == "__main__":
    sys.exit(main())
