"""Ask a core in Java what functions written for the raw core in this process ask: over the bridge, and on the loop.

Such a function is called again and again: each time it comes to a question that was not asked yet, it is left, the question is
awaited, and it begins anew with one answer more. It must only ask, change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aiomm.acquire.capabilities import EXPOSURE, Needs, read_capabilities
from aiomm.core.together import ask_all
from aiomm.errors import CoreError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiomm.acquire.capabilities import Capabilities
    from aiomm.core import BridgedCore

T = TypeVar("T")
Question = tuple[str, tuple[Any, ...]]

LASTING = frozenset({"getLoadedDevices", "getDeviceType", "hasProperty", "getDevicePropertyNames", "getPropertyType", "isPropertyReadOnly"})
"""What stays true until another configuration is loaded."""
ROLES: tuple[Question, ...] = tuple((f"get{role}Device", ()) for role in ("Camera", "Focus", "XYStage", "SLM"))
DEVICES: Question = ("getLoadedDevices", ())
GROUPS: Question = ("getAvailableConfigGroups", ())
OF_AN_IMAGE: tuple[Question, ...] = tuple(
    (f"get{what}", ()) for what in ("NumberOfComponents", "BytesPerPixel", "NumberOfCameraChannels", "ImageBufferSize")
)
"""What is asked for events with images."""


def of_exposures(method: str, args: tuple[Any, ...]) -> bool:
    """Whether a question is asked because of an exposure, and not LASTING."""
    return method == "isExposureSequenceable" or (method not in LASTING and args[1:] == (EXPOSURE,))


class _NotAsked(BaseException):
    """Leaves the function; not an Exception, so that it does not take this for a device's refusal."""

    def __init__(self, question: Question) -> None:
        self.question = question


class _Setting:
    def __init__(self, label: str, name: str, value: str) -> None:
        self._parts = (label, name, value)

    def getDeviceLabel(self) -> str:
        return self._parts[0]

    def getPropertyName(self) -> str:
        return self._parts[1]

    def getPropertyValue(self) -> str:
        return self._parts[2]


class _Configuration:
    """A configuration as the raw core gives it."""

    def __init__(self, settings: Mapping[tuple[str, str], str]) -> None:
        self._settings = [_Setting(label, name, value) for (label, name), value in settings.items()]

    def size(self) -> int:
        return len(self._settings)

    def getSetting(self, index: int) -> _Setting:
        return self._settings[index]


class Asking:
    """Asks one core, and remembers what it said.

    Parameters
    ----------
    core
        The core.
    """

    def __init__(self, core: BridgedCore) -> None:
        self._core = core
        self._known: dict[Question, Any] = {}
        self._of_exposures: list[Question] = []  # what was asked last for events with exposures: one after another takes 1 ms

    def forget(self) -> None:
        """Ask anew for all that may have changed."""
        self._of_exposures = [question for question in self._known if of_exposures(*question)] or self._of_exposures
        self._known = {question: answer for question, answer in self._known.items() if question[0] in LASTING}

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def answer(*args: Any) -> Any:
            question = (method, args)
            if question not in self._known:
                raise _NotAsked(question)
            found = self._known[question]
            if isinstance(found, CoreError):
                raise found
            return found

        return answer

    async def read(self, function: Callable[[Any], T], *foreseen: Question) -> T:
        """Give what ``function(mmc)`` gives, for a function that only asks; the questions that it is sure to have go out together."""
        await self.ask(*foreseen)
        while True:
            try:
                return function(self)
            except _NotAsked as left:
                question = left.question
            await self.ask(question)

    async def capabilities(self, wanted: Needs, *foreseen: Question, image: bool = False, sparing: bool = False) -> Capabilities:
        """Give what events that have these needs must know, see `read_capabilities`; ask meanwhile what is asked next."""
        some = [DEVICES] if not sparing or wanted != Needs() else []
        groups = [GROUPS] if not sparing or wanted.presets else []
        await self.ask(*ROLES, *some, *groups, *foreseen, *(self._of_exposures if wanted.exposure else ()))
        labels = self._known.get(DEVICES, ())
        if not isinstance(labels, CoreError) and not sparing:
            await self.ask(*[("getDeviceType", (label,)) for label in labels])
        return await self.read(lambda mmc: read_capabilities(mmc, wanted, image=image, sparing=sparing))

    async def refuse_no_camera(self) -> None:
        """Say why Java makes no acquisition, where that is so: its engine asks first how deep the camera's pixels are.

        Raises
        ------
        UnsupportedError
            The core has no camera; it says which there are.
        """
        caps = await self.capabilities(Needs())
        if not caps.camera:
            reason = "Micro-Manager's engine begins no acquisition without a camera, not even one without images"
            raise UnsupportedError(f"{reason}: {caps.lacks('camera', 'Camera', 'Camera')}")

    async def ask(self, *questions: Question) -> None:
        """Ask what is not known yet, all at once; of a refusal hears who needs the answer."""
        await ask_all(*[self._ask(question) for question in questions if question not in self._known])

    async def _ask(self, question: Question) -> None:
        try:
            found = await self._core.call_core(*question)
        except CoreError as refused:
            found = refused
        self._known[question] = _Configuration(found) if isinstance(found, dict) else found
