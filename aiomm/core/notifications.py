"""What MMCore tells by itself (a property changed, a stage moved), as an async iterator.

MMCore keeps one callback only. It is registered while somebody listens, so that nothing is paid otherwise. With
pymmcore-plus, which needs that callback, its own ``events`` are listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymmcore

from aiomm.bridge.mailbox import Listener, Mailbox, check_buffer
from aiomm.bridge.names import did_you_mean
from aiomm.core.finish import finish
from aiomm.core.names import snake_case
from aiomm.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiomm.core.local import LocalCore

# Of each of MMEventCallback's methods, what its arguments are.
_FIELDS: dict[str, tuple[str, ...]] = {
    "onChannelGroupChanged": ("group",),
    "onConfigGroupChanged": ("group", "preset"),
    "onExposureChanged": ("device", "exposure"),
    "onImageSnapped": ("device",),
    "onPixelSizeAffineChanged": ("v0", "v1", "v2", "v3", "v4", "v5"),
    "onPixelSizeChanged": ("pixel_size_um",),
    "onPropertiesChanged": (),
    "onPropertyChanged": ("device", "property", "value"),
    "onSLMExposureChanged": ("device", "exposure"),
    "onSequenceAcquisitionStarted": ("device",),
    "onSequenceAcquisitionStopped": ("device",),
    "onShutterOpenChanged": ("device", "open"),
    "onStagePositionChanged": ("device", "position"),
    "onSystemConfigurationLoaded": (),
    "onXYStagePositionChanged": ("device", "x", "y"),
}
_METHODS = sorted({*_FIELDS, *(n for n in dir(pymmcore.MMEventCallback) if n.startswith("on") and n[2:3].isupper())})
_PLUS = {"onXYStagePositionChanged": "XYStagePositionChanged", "onSLMExposureChanged": "SLMExposureChanged"}
KINDS = {snake_case(method[2:]): method for method in _METHODS}


@dataclass(frozen=True, slots=True)
class CoreNotification:
    """Something that MMCore told by itself.

    Attributes
    ----------
    kind : str
        What happened: ``property_changed``, ``stage_position_changed``, ``xy_stage_position_changed``,
        ``exposure_changed``, ``shutter_open_changed``, ``config_group_changed``, ``channel_group_changed``,
        ``image_snapped``, ``sequence_acquisition_started``, ``sequence_acquisition_stopped``,
        ``system_configuration_loaded``, ``properties_changed``, ``pixel_size_changed``, ``pixel_size_affine_changed``,
        ``slm_exposure_changed``.
    device : str or None
        Label of the device, if it is about one.
    values : dict
        The rest, by name: ``property`` and ``value``; ``position``, or ``x`` and ``y`` (µm); ``exposure`` (ms); ``open``;
        ``group`` and ``preset``; ``pixel_size_um``.
    time : float
        When it was told, on ``time.monotonic()`` (s).
    """

    kind: str
    device: str | None
    values: dict[str, Any] = field(default_factory=dict)
    time: float = 0.0


def notification(method: str, args: tuple[Any, ...]) -> CoreNotification:
    """Make a notification of a call of ``MMEventCallback``'s method."""
    names = _FIELDS.get(method, ())
    values = dict(zip([*names, *(f"v{k}" for k in range(len(names), len(args)))], args, strict=False))
    return CoreNotification(snake_case(method[2:]), values.pop("device", None), values, time.monotonic())


def chosen_kinds(kinds: Iterable[str] | str | None, buffer: int) -> frozenset[str] | None:
    """Check what a listener asks for; None is all kinds.

    Raises
    ------
    ValueError
        There is no such kind, or ``buffer`` is no number of changes.
    """
    chosen = None if kinds is None else frozenset([kinds] if isinstance(kinds, str) else kinds)
    if chosen is not None and (unknown := sorted(chosen - set(KINDS))):
        hint = did_you_mean(str(unknown[0]), KINDS) or f"; there are {', '.join(sorted(KINDS))}"
        raise ValueError(f"there are no core notifications of kind {', '.join(map(repr, unknown))}{hint}")
    check_buffer(buffer)
    return chosen


class _Mailbox(Mailbox[CoreNotification]):
    """Filled on any thread; the hub does so under its lock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int, kinds: frozenset[str] | None) -> None:
        super().__init__(size, kinds)
        self._loop = loop
        self._waking = False

    def wake(self) -> None:
        """Have the listener look; one wake-up is under way at most."""
        if not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False  # before the listener looks, so that nothing slips between
        super().wake()


class Hub:
    """The one callback of a core, and who listens to it."""

    def __init__(self, core: LocalCore) -> None:
        self._core = core
        self._mailboxes: set[_Mailbox] = set()
        self._lock = threading.RLock()  # reentrant: a finaliser may come in while its thread is in here
        self._callback: Any = None
        self._registered = False
        self._connected: list[tuple[Any, Callable[..., None]]] = []

    async def add(self, mailbox: _Mailbox) -> None:
        """Let a listener hear all that happens after this."""
        with self._lock:
            self._mailboxes.add(mailbox)
        try:
            await self._core.thread.run(self._update, reads=True, label="listening to MMCore")
        except BaseException:
            self.discard(mailbox)
            raise

    def discard(self, mailbox: _Mailbox) -> None:
        """Let a listener go; from any thread, waiting for nothing."""
        with self._lock:
            if mailbox not in self._mailboxes:
                return
            self._mailboxes.discard(mailbox)
            last = not self._mailboxes
        if last:
            with contextlib.suppress(ClosedError):
                self._core.thread.post(self._update, label="listening to MMCore no more")

    async def settle(self) -> None:
        """Wait until the callback is registered exactly if somebody listens."""
        with contextlib.suppress(ClosedError):
            await self._core.thread.run(self._update, reads=True)

    def close(self) -> None:
        """On the hardware thread: the core ends."""
        with self._lock:
            ended, self._mailboxes = self._mailboxes, set()
        self._update()
        for mailbox in ended:
            mailbox.end()

    def tell(self, item: CoreNotification) -> None:
        """Give a notification to all; on any thread."""
        with self._lock:
            for mailbox in self._mailboxes:
                mailbox.put(item.kind, item)

    def _update(self) -> None:
        """On the hardware thread: register or unregister."""
        mmc = self._core.raw
        if mmc is None:
            return
        wanted = bool(self._mailboxes)
        if wanted and not self._registered:
            self._registered = True
            self._register(mmc)
        elif not wanted and self._registered:
            self._registered = False
            for signal, slot in self._connected:
                signal.disconnect(slot)
            self._connected.clear()
            if self._callback is not None:
                mmc.registerCallback(None)

    def _register(self, mmc: Any) -> None:
        if not hasattr(mmc, "events"):
            if self._callback is None:
                self._callback = _Callback(self.tell)  # kept for good: MMCore has a bare pointer to it
            mmc.registerCallback(self._callback)
            return
        for method in _METHODS:
            name = _PLUS.get(method, method[2].lower() + method[3:])
            signal = getattr(mmc.events, name, None)
            if signal is not None:
                slot = _slot(self.tell, method)
                signal.connect(slot)
                self._connected.append((signal, slot))


def _slot(tell: Callable[[CoreNotification], None], method: str) -> Callable[..., None]:
    def slot(*args: Any) -> None:
        tell(notification(method, args))

    return slot


def _method(method: str) -> Callable[..., None]:
    def told(self: Any, *args: Any) -> None:
        self.tell(notification(method, args))

    return told


class _Told:
    """`MMEventCallback`'s methods, each of them: those that are left out would print to standard output.

    A mixin, because pymmcore's classes refuse to have attributes set.
    """

    def __init__(self, tell: Callable[[CoreNotification], None]) -> None:
        super().__init__()
        self.tell = tell


for _name in _METHODS:
    setattr(_Told, _name, _method(_name))


class _Callback(_Told, pymmcore.MMEventCallback):
    """The callback that is registered with MMCore."""


class CoreEvents(Listener[CoreNotification]):
    """An async iterator over `CoreNotification`; made by `LocalCore.events`.

    It hears what happens from its first step on, or from ``async with`` on. It ends when the core is closed.

    Attributes
    ----------
    dropped : int
        How many notifications were lost, the oldest first, because ``buffer`` were waiting to be taken.
    """

    def __init__(self, hub: Hub, kinds: Iterable[str] | str | None, buffer: int) -> None:
        super().__init__()
        self._kinds = chosen_kinds(kinds, buffer)
        self._hub = hub
        self._buffer = buffer
        self._mailbox: _Mailbox | None = None

    @property
    def dropped(self) -> int:
        """How many notifications were lost."""
        return self._mailbox.dropped if self._mailbox is not None else 0

    async def aclose(self) -> None:
        """Listen no more. Again and again does no harm."""
        self._closed = True
        if self._mailbox is not None:
            self._hub.discard(self._mailbox)
            self._mailbox.end()
            await finish(asyncio.ensure_future(self._hub.settle()))

    async def _listen(self) -> _Mailbox:
        if self._mailbox is None:
            mailbox = _Mailbox(asyncio.get_running_loop(), self._buffer, self._kinds)
            await self._hub.add(mailbox)
            self._mailbox = mailbox
        return self._mailbox

    def __del__(self) -> None:
        mailbox = getattr(self, "_mailbox", None)
        if mailbox is not None:
            self._hub.discard(mailbox)
