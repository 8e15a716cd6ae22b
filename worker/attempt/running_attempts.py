"""Attempts that a worker runs at the same time, each in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from service.store.records import Lease
from worker.attempt.attempt_runner import AttemptRunner, WorkerContext
from worker.health.device_health import DeviceHealth
from worker.slots import Allocation, SlotPool


class RunningAttempts:
    """Attempts that run now, with the slots that they hold.

    `start`, `collect` and `finish` are for the main thread; `jobs` may be read from any.
    """

    def __init__(
        self, context: WorkerContext, slots: SlotPool, *, on_change: Callable[[], None]
    ) -> None:
        """`on_change` is called from any thread after an attempt began or ended."""
        self._context, self._slots, self._on_change = context, slots, on_change
        self._health = DeviceHealth(slots)
        self._threads = ThreadPoolExecutor(max_workers=len(slots), thread_name_prefix="attempt")
        self._futures: list[Future[bool]] = []
        self._jobs: dict[str, str] = {}
        """Token of a lease -> id of its job; a job that was lost here may have begun anew."""
        self._lock = threading.Lock()

    @property
    def jobs(self) -> tuple[str, ...]:
        """Ids of the jobs, in the order in which they began."""
        with self._lock:
            return tuple(dict.fromkeys(self._jobs.values()))

    def start(self, lease: Lease) -> None:
        """Run an attempt in a free thread, with as many free slots as its lease says."""
        allocation = self._slots.take(lease.slots)
        with self._lock:
            self._jobs[lease.token] = lease.job_id
        self._on_change()
        future = self._threads.submit(self._run, lease, allocation)
        future.add_done_callback(lambda _: self._on_change())
        self._futures.append(future)

    def collect(self) -> bool:
        """Return False if an attempt that ended since failed through no fault of the user.

        Raises what an attempt has raised: a defect.
        """
        ended = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        return all([future.result() for future in ended])

    def finish(self) -> None:
        """Wait until all attempts have ended. Raises what one of them has raised."""
        wait(self._futures)
        self._threads.shutdown()
        self.collect()

    def _run(self, lease: Lease, allocation: Allocation) -> bool:
        runner = AttemptRunner(self._context, lease, allocation)
        try:
            return runner.run()
        finally:
            if runner.decision:
                self._health.record(allocation.devices, runner.decision)
            with self._lock:
                del self._jobs[lease.token]
            self._slots.give_back(allocation)
