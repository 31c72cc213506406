"""What the acquisitions on one core of this process have in common: how the hardware was before the first, and whose it is now."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aiomm.core.safety import remember, restore
from aiomm.errors import HardwareError

if TYPE_CHECKING:
    from aiomm.acquire.engine import Engine
    from aiomm.core.local import LocalCore
    from aiomm.core.safety import Found

logger = logging.getLogger("aiomm")


class Shared:
    """What the acquisitions on one core have in common; used on its hardware thread only.

    Attributes
    ----------
    open : set
        The engines that have driven the hardware and have not ended.
    in_force : Engine or None
        Who has driven it last, also if it has ended. None: it was left as it was found.
    """

    def __init__(self) -> None:
        self.open: set[Engine] = set()
        self.in_force: Engine | None = None
        self._found: Found | None = None  # as the first has found it

    def enter(self, engine: Engine) -> None:
        """An engine is about to drive the hardware: the first one to do so notes how it is found.

        Raises
        ------
        HardwareError
            This is its first turn, and somebody's sequence runs, which is not ours to stop; nothing is changed.
        """
        mmc = engine.core.mmc
        if engine not in self.open and _runs(mmc):
            raise HardwareError(f"camera {mmc.getCameraDevice()!r} is running already: stop its sequence, or the live view, first")
        if self._found is None:
            self._found = remember(mmc)
        self.open.add(engine)

    def roles_found(self, engine: Engine) -> dict[str, str] | None:
        """Give the core's devices as the first has found them, where another engine's are in force; it leaves them so."""
        if self.in_force is None or self.in_force is engine or self._found is None:
            return None
        return dict(self._found.roles)

    def restore(self, core: LocalCore) -> list[Exception]:
        """Leave the hardware as it was found; each step is tried. Gives what could not be done: it is tried again before others go on."""
        found, failures = self._found, []
        for _ in range(2):  # a device may refuse once
            failures = [] if found is None else restore(core.mmc, found)
            if not failures:
                break
        if not failures or not self.open:
            self.in_force = None
        if not self.open:
            self._found = None
        return failures

    def leave(self, engine: Engine) -> list[Exception]:
        """An engine has ended, and may have its turn still. Gives what could not be done.

        Where it was the one to drive the hardware, or the one that did had ended, that is left as it was found: by who has the turn, if it
        is an acquisition that is open, else now; a live view is not disturbed.
        """
        self.open.discard(engine)
        core = engine.core
        holder = core.turns.holder
        if self._is_left_over():
            if holder is None or holder is engine or (type(holder) is type(engine) and holder not in self.open):  # the last has not begun
                return self.restore(core)
            if holder not in self.open:
                core.turns.when_free(lambda: self._clear_up(core))
        elif not self.open:
            self._found = None
        return []

    def _is_left_over(self) -> bool:
        return self.in_force is not None and self.in_force not in self.open

    def _clear_up(self, core: LocalCore) -> None:
        if self._is_left_over() and core.raw is not None:
            for failure in self.restore(core):
                logger.warning("the hardware could not be left as it was found: %s", failure)


def _runs(mmc: Any) -> bool:
    try:
        return bool(mmc.isSequenceRunning())
    except Exception:  # there is no camera, or it does not say: taking an image will tell
        return False


_SHARED: WeakKeyDictionary[LocalCore, Shared] = WeakKeyDictionary()


def shared_on(core: LocalCore) -> Shared:
    """Give what is shared by all acquisitions on this core."""
    return _SHARED.setdefault(core, Shared())
