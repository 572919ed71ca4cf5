"""One connection that sends messages of the same content and sender in one transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from postroad.deliver.batch import BatchMachine
from postroad.deliver.connection import NOT_BEGUN, Connection
from postroad.deliver.machine import Machine
from postroad.deliver.steps import Step
from postroad.message import Message


class BatchConnection(Connection):
    """message: the first one of the batch.

    Bodies that are not in memory are loaded one after the other, and are one body then: a batch never holds more than
    two copies of what it sends.
    """

    kind: ClassVar[type[Machine]] = BatchMachine
    batches: ClassVar[bool] = True
    machine: BatchMachine
    _batch: Sequence[Message] = ()
    _unloaded: deque[Message]  # of the batch

    def loaded(self, message: Message) -> None:
        self._unloaded.popleft()
        for other in self._batch:
            if other is not message and other.body is not None and other.place == message.place:
                message.body = other.body
                break
        self._go_on()

    def unreadable(self) -> None:
        gone = self._unloaded.popleft()
        self._batch = [each for each in self._batch if each is not gone]
        self._go_on()

    def _begin(self, message: Message) -> bool:
        machine = self.machine
        batch = [message]
        most = min(self.most, machine.takes)
        if self._limit:
            most = min(most, self._limit - machine.served)
        while len(batch) < most and (each := self._owner.more(self, message)) is not None:
            batch.append(each)
        self._batch = batch
        self._unloaded = deque(each for each in batch if each.body is None)
        if self._unloaded:
            self._loading = True
            self._owner.load(self, self._unloaded[0])
            return False
        self._send()
        return True

    def _go_on(self) -> None:
        """One of the batch was loaded, or is not there any more."""
        ready = self.machine.step is Step.READY
        if self._unloaded and (self.leaving or not ready):
            # Without its body and envelope nothing could be told of a message: these have not begun.
            for each in self._unloaded:
                self._owner.back(each)
            self._batch = [each for each in self._batch if each.body is not None]
            self._unloaded.clear()
        self.message = self._batch[0] if self._batch else None
        if self._unloaded:
            self._owner.load(self, self._unloaded[0])
            return
        self._loading = False
        if self._batch:
            if ready:
                self._send()
            else:
                self.machine.result = NOT_BEGUN
        self._work()

    def _send(self) -> None:
        first = self._batch[0]
        assert first.body is not None
        if len(self._batch) == 1:
            self.machine.send(first, first.body)
        else:
            self.machine.send_all(self._batch)

    def _report(self) -> None:
        machine = self.machine
        result = machine.result
        if result is None or self.message is None or self._loading:
            return
        batch, self._batch = self._batch, ()
        own, machine.own = machine.own, {}
        machine.result = None
        self.message = None
        if machine.step is Step.CLOSED and not machine.served and not own:
            self.fruitless = result.reply
        for at, message in enumerate(batch):
            self._owner.settled(self, message, own.get(at, result))
