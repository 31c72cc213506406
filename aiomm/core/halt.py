"""Stop everything now, past the hardware thread: shutters, stages, camera sequences.

MMCore has one lock per adapter module, and a device call holds it until it returns: a snap keeps all devices of the
camera's module for the whole exposure. So each module gets a short-lived thread of its own, and one that is locked
holds up no other. Within a module the order is shutter, stages, cameras: stopping a sequence waits for the exposure in
progress. Autoshutter is left alone: switched off in the middle of a snap, it would leave the shutter open.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.core.translate import core_error
from aiomm.errors import CoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiomm.bridge.users import User

KINDS = (
    (pymmcore.ShutterDevice, "shutter"),
    (pymmcore.XYStageDevice, "stage"),
    (pymmcore.StageDevice, "stage"),
    (pymmcore.CameraDevice, "camera"),
)


class Halt:
    """One attempt to stop everything.

    Parameters
    ----------
    mmc : pymmcore.CMMCore
        The raw core.
    modules : dict
        The adapter module of each device, as far as it is known; a device whose module is not known gets its own thread.
    """

    def __init__(self, mmc: Any, modules: Mapping[str, str]) -> None:
        self.mmc = mmc
        self.known = modules
        self.pending: set[str] = {"looking for devices"}
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()
        self.ended: asyncio.Future[None] | None = None

    async def run(self, timeout: float) -> list[str]:
        """Stop what can be stopped within ``timeout`` (s); say what could not be, and why."""
        loop = asyncio.get_running_loop()
        self.ended = loop.create_future()
        threading.Thread(target=self._find, args=(loop,), name="aiomm-halt", daemon=True).start()
        try:
            await asyncio.wait([self.ended], timeout=timeout)
        finally:
            with self.lock:
                late = sorted(self.pending)
        problems = [str(error) for error in self.errors]
        if late:
            problems.append(f"not within {timeout:g} s, because a call to the same adapter is in progress: {'; '.join(late)}")
        return problems

    def _find(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a thread of its own: see which module has what, and give each module a thread."""
        modules: dict[str, list[tuple[str, str]]] = {}
        try:
            for kind, what in KINDS:
                for label in self.mmc.getLoadedDevicesOfType(kind):
                    modules.setdefault(self.known.get(label, label), []).append((what, label))
        except Exception as error:
            self._failed(error, "getLoadedDevicesOfType", ())
        threads = []
        for devices in modules.values():
            names = [f"{what} {label!r}" for what, label in devices]
            with self.lock:
                self.pending.update(names)
            threads.append(threading.Thread(target=self._module, args=(loop, devices), name="aiomm-halt", daemon=True))
        for thread in threads:
            thread.start()
        self._finished("looking for devices", loop)

    def _module(self, loop: asyncio.AbstractEventLoop, devices: list[tuple[str, str]]) -> None:
        for what, label in devices:
            stop = {"shutter": self._close, "stage": self._stop, "camera": self._end}[what]
            stop(label)
            self._finished(f"{what} {label!r}", loop)

    def _close(self, label: str) -> None:
        try:
            if self.mmc.getShutterOpen(label):
                self.mmc.setShutterOpen(label, False)
        except Exception as error:
            self._failed(error, "setShutterOpen", (label, False))

    def _stop(self, label: str) -> None:
        try:
            self.mmc.stop(label)
        except Exception as error:  # many stages cannot be stopped; that matters only while they move
            try:
                moving = self.mmc.deviceBusy(label)
            except Exception:
                moving = True
            if moving:
                self._failed(error, "stop", (label,))

    def _end(self, label: str) -> None:
        try:
            if self.mmc.isSequenceRunning(label):
                self.mmc.stopSequenceAcquisition(label)
        except Exception as error:
            self._failed(error, "stopSequenceAcquisition", (label,))

    def _failed(self, error: BaseException, method: str, args: tuple[Any, ...]) -> None:
        with self.lock:
            self.errors.append(core_error(error, method, args))

    def _finished(self, what: str, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            self.pending.discard(what)
            over = not self.pending
        if over:
            try:
                loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                return  # the loop was closed: nobody waits

    def _settle(self) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


async def halt(mmc: Any, modules: Mapping[str, str], users: list[User], ending: set[asyncio.Task[None]], timeout: float) -> None:
    """Stop everything, have those who drive the core end, and stop everything again when they have.

    The second time is for a shutter that was found open: leaving the hardware as they found it, they open it again.
    Tasks of those who have not ended in time are in ``ending`` until they have.

    Raises
    ------
    CoreError
        Something could not be stopped; it names all of it, and why.
    """
    until = time.monotonic() + timeout
    for user in users:
        abort = getattr(user, "abort", None)
        if abort is not None:
            abort()
    problems = await Halt(mmc, modules).run(timeout)
    if users:
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(user.abort_for_close(), name="aiomm: ending for halt") for user in users}
        ending |= tasks
        for task in tasks:
            task.add_done_callback(_heard)
            task.add_done_callback(ending.discard)
        _, late = await asyncio.wait(tasks, timeout=max(0.0, until - time.monotonic()))
        problems = await Halt(mmc, modules).run(max(0.2, until - time.monotonic()))
        if late:
            problems.append(f"still ending after {timeout:g} s: {', '.join(sorted(type(u).__name__ for u in users))}")
    if problems:
        raise CoreError(f"halt: {'. '.join(problems)}")


def _heard(task: asyncio.Task[None]) -> None:
    """Who waits for the acquisition or live view itself hears of its error."""
    if not task.cancelled():
        task.exception()
