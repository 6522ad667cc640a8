"""Claims jobs of a queue and carries them out, several at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from harness import HarnessError, LostClaim, Session, Work, WorkItem
from training.jobs.carrying import INCOMPLETE, Carrier, Stopped, Stopping
from training.jobs.elsewhere import ELSEWHERE, Elsewhere
from training.jobs.order import Order

POLL_SECONDS: Final = 0.5
AT_ONCE_SECONDS: Final = 5.0
"""After a second signal no job is waited for longer."""
AGAIN_SECONDS: Final = 5.0
"""Until a job is tried again that another process was at, unless one of this agent's ends before."""
OPEN: Final = ("waiting", "running")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an agent has for its jobs; None where it does not count."""

    cpus: float | None = None
    gpus: float | None = None
    memory: int | None = None

    def without(self, orders: Collection[Order]) -> Offer:
        """What is left beside these."""
        needs = [_needs(order) for order in orders]
        cpus, gpus, memory = (sum(need[place] for need in needs) for place in range(3))
        return Offer(
            None if self.cpus is None else self.cpus - cpus,
            None if self.gpus is None else self.gpus - gpus,
            None if self.memory is None else self.memory - int(memory),
        )

    def fits(self, order: Order) -> bool:
        """Whether the job finds what it needs."""
        has = (self.cpus, self.gpus, self.memory)
        return all(there is None or need <= there for need, there in zip(_needs(order), has, strict=True))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended with this agent.

    Attributes:
        item: as it is kept now.
        code: on our scale.
        error: why it was not carried out, where it was not.
    """

    item: WorkItem
    code: int
    error: HarnessError | None = None


class Agent:
    """Carries out what waits in a queue.

    Args:
        count: so many jobs at once.
        offer: a job is taken when it fits beside those at work.
        names: only these items.
        said: takes an item's name, and what its log has new.
        tell: takes what a person should know.
    """

    def __init__(
        self,
        session: Session,
        queue: Work,
        *,
        count: int = 1,
        offer: Offer = Offer(),
        names: Collection[str] | None = None,
        said: Callable[[str, bytes], object] = lambda name, text: None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._session = session
        self._queue = queue
        self._count = count
        self._offer = offer
        self._names = names
        self._said = said
        self._tell = tell
        self._stopping = Stopping()
        self._ended: list[Ended] = []
        self._errors: list[BaseException] = []
        self._given_up: set[str] = set()
        self._elsewhere: set[str] = set()
        self._put_off: dict[str, float] = {}
        self._beside: set[str] = set()
        self._at_work: dict[tuple[str, int], Order] = {}
        # Not by the threads themselves: one that is joined when a signal comes counts as ended, and is not.
        self._over: set[tuple[str, int]] = set()
        self._free = threading.Event()

    def run(self, *, watch: bool = False) -> list[Ended]:
        """Until nothing is left that it could take; all jobs that it ended, in that order.

        However it is interrupted, its jobs are asked to save and to end, and wait again; a second time they are ended
        at once. One whose place does not answer then is left to whoever claims it next.

        Args:
            watch: wait for more.
        """
        try:
            while True:
                self._take()
                if not self._at_work and not self._put_off and not watch:
                    break
                self._reap(watch=watch)
                if self._errors:
                    raise self._errors[0]
        except BaseException:
            self._stop()
            raise
        return self._ended

    def left(self) -> dict[str, str]:
        """What waits on -> why."""
        waiting = [item for item in self._session.work.items(self._queue) if item.status == "waiting"]
        large = [item.name for item in waiting if self._is_for_us(item) and not _fits(item, self._offer)]
        elsewhere = [item.name for item in waiting if item.name in self._elsewhere & self._given_up]
        return {
            **dict.fromkeys(large, "it needs more than this agent has"),
            **dict.fromkeys(elsewhere, f"{ELSEWHERE}; try again when that has ended"),
        }

    def _items(self) -> list[WorkItem]:
        return [item for item in self._session.work.items(self._queue) if self._is_for_us(item)]

    def _is_for_us(self, item: WorkItem) -> bool:
        return (self._names is None or item.name in self._names) and item.name not in self._given_up

    def _take(self) -> None:
        while len(self._at_work) < self._count:
            left = self._offer.without(self._at_work.values())
            items = self._items()
            waiting = {item.name for item in items if item.status == "waiting"}
            self._put_off = {name: at for name, at in self._put_off.items() if name in waiting}
            late = {name for name, at in self._put_off.items() if at > time.monotonic()}
            fitting = {item.name for item in items if item.status in OPEN and _fits(item, left)} - late
            item = self._session.work.claim(self._queue, fitting) if fitting else None
            if item is None:
                return
            try:
                order = Order.of(item)
            except HarnessError as error:
                self._session.work.failed(item, str(error))
                self._note_end(item, error.exit_code, error)
                continue
            self._put_off.pop(item.name, None)
            self._beside.discard(item.name)
            if self._others_run(item.name):
                self._beside.add(item.name)
            self._at_work[item.name, item.attempt] = order
            # A daemon, so that this process can end while a place that does not answer is waited for.
            threading.Thread(target=self._work_at, args=(item,), name=item.name, daemon=True).start()

    def _work_at(self, item: WorkItem) -> None:
        try:
            self._carry(item)
        except BaseException as error:  # noqa: BLE001 - raised again where it can be seen
            self._errors.append(error)
        finally:
            self._over.add((item.name, item.attempt))
            self._free.set()

    def _carry(self, item: WorkItem) -> None:
        code, problem = INCOMPLETE, None
        try:
            carrier = Carrier(
                self._session, item, self._stopping, lambda text: self._said(item.name, text), self._tell
            )  # fmt: skip
            code = carrier.carry()
        except Stopped:
            return
        except Elsewhere:
            self._elsewhere.add(item.name)
            return
        except LostClaim as error:
            self._tell(str(error))
            return
        except HarnessError as error:
            code, problem = error.exit_code, error
            self._given_up.add(item.name)
        self._note_end(item, code, problem)

    def _note_end(self, item: WorkItem, code: int, problem: HarnessError | None) -> None:
        kept = next(other for other in self._session.work.items(self._queue) if other.key == item.key)
        self._ended.append(Ended(kept, code, problem))

    def _reap(self, *, watch: bool = False) -> None:
        """Waits a little, and forgets the jobs that have ended; those that another process was at are put off."""
        self._free.wait(POLL_SECONDS)
        self._free.clear()
        over = self._over & self._at_work.keys()
        elsewhere = {name for name, _ in over} & self._elsewhere
        for one in over:
            del self._at_work[one]
            self._over.remove(one)
        for name in elsewhere:
            self._try_later(name, watch=watch)
        if len(over) > len(elsewhere):  # perhaps what the others wait for
            self._put_off = dict.fromkeys(self._put_off, 0.0)

    def _try_later(self, name: str, *, watch: bool) -> None:
        """Puts a job off while others of the queue run, or did when it began; else it is left to whoever asks next."""
        if watch or name in self._beside or self._others_run(name):
            self._elsewhere.remove(name)
            self._put_off[name] = time.monotonic() + AGAIN_SECONDS
            self._tell(f"{name}: {ELSEWHERE}; waits")
        else:
            self._given_up.add(name)

    def _others_run(self, name: str) -> bool:
        return any(item.status == "running" and item.name != name for item in self._session.work.items(self._queue))

    def _stop(self) -> None:
        self._stopping.asked.set()
        until = math.inf
        while self._at_work and time.monotonic() < until:
            try:
                self._reap()
            except BaseException:  # noqa: BLE001 - asked to end while ending: at once, then
                self._stopping.now.set()
                until = min(until, time.monotonic() + AT_ONCE_SECONDS)
        for name, _ in self._at_work:
            self._tell(f"{name}: could not be stopped so soon and may go on; whoever claims it looks for it")


def _fits(item: WorkItem, offer: Offer) -> bool:
    """Whether an agent with this can take it; what cannot be read it can, which then has failed."""
    try:
        return offer.fits(Order.of(item))
    except HarnessError:
        return True


def _needs(order: Order) -> tuple[float, float, float]:
    needs = order.job.resources.resources()
    return needs.cpus, needs.gpus, needs.memory or 0
