"""RecordingCore: a real MMCore that writes down each call that reaches it, breaks where told to, and can feign sequencing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymmcore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SWIG = {"acquire", "append", "disown", "own", "next", "this", "thisown", "noop"}


@dataclass(frozen=True)
class Call:
    """One call that reached MMCore."""

    name: str
    args: tuple[Any, ...]
    thread: str
    start: float
    """time.monotonic() in s when it began."""
    end: float
    error: BaseException | None = None
    feigned: bool = False
    """A fault or a feigned device answered; MMCore did not hear of it."""

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.args))})"


@dataclass
class Rule:
    """A fault: what happens to calls of one method."""

    method: str
    first: int
    times: int | None
    when: Callable[..., bool] | None
    action: Callable[..., Any]
    seen: int = 0
    hits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False

    def heal(self) -> None:
        """Take this fault away."""
        self.over = True

    def applies(self, args: tuple[Any, ...]) -> bool:
        """Count a call, and tell whether it is one of those that fail."""
        if self.over or (self.when is not None and not self.when(*args)):
            return False
        with self.lock:
            self.seen += 1
            if self.seen < self.first or (self.times is not None and self.hits >= self.times):
                return False
            self.hits += 1
            return True


class Recorder:
    """What was called on a core, here or in Java, and the faults it has."""

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[Rule] = []

    # ---- what was called ----------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """Every call that has ended, in the order in which they began; whoever made it."""
        raise NotImplementedError

    def calls_of(self, *names: str) -> list[Call]:
        """The calls of some methods."""
        return [call for call in self.calls if call.name in names]

    def names(self, of: Iterable[str] | None = None) -> list[str]:
        """Names of the methods called, in order; ``of`` keeps only these."""
        wanted = None if of is None else set(of)
        return [call.name for call in self.calls if wanted is None or call.name in wanted]

    # ---- faults -------------------------------------------------------------------------------------------------

    def on(
        self,
        method: str,
        *,
        nth: int = 1,
        times: int | None = 1,
        when: Callable[..., bool] | None = None,
        raises: BaseException | None = None,
        delay: float = 0.0,
        drop: bool = False,
        returns: Any = None,
        do: Callable[..., Any] | None = None,
    ) -> Rule:
        """Inject a fault from the ``nth`` call of ``method`` on, ``times`` times (None: for ever).

        ``when(*args)`` chooses the calls that count. The call takes ``delay`` seconds longer, then raises ``raises``, or
        returns ``returns`` without reaching MMCore (``drop``), or gives what ``do(original, *args)`` gives.
        """

        def action(original: Callable[..., Any], *args: Any) -> Any:
            if delay:
                time.sleep(delay)
            if raises is not None:
                raise raises
            if drop:
                return returns
            return original(*args) if do is None else do(original, *args)

        rule = Rule(method, nth, times, when, action)
        self._rules.append(rule)
        self._bend()
        return rule

    def heal(self) -> None:
        """Take all faults away."""
        self._rules.clear()
        self._bend()

    def _bend(self) -> None:
        """See to it that calls of the methods with faults come here."""

    def rules_for(self, method: str, args: tuple[Any, ...]) -> list[Rule]:
        """The faults that this call has; counts it."""
        return [rule for rule in list(self._rules) if rule.method == method and rule.applies(args)]


def _recorded(name: str) -> Callable[..., Any]:
    base = getattr(pymmcore.CMMCore, name)

    def method(self: RecordingCore, *args: Any) -> Any:
        return self.record_call(name, lambda *a: base(self, *a), args)

    method.__name__ = name
    method.__doc__ = base.__doc__
    return method


_METHODS = [n for n in dir(pymmcore.CMMCore) if not n.startswith("_") and n not in _SWIG and callable(getattr(pymmcore.CMMCore, n))]

# A mixin before CMMCore: its metaclass refuses to have methods replaced.
_Recorded: Any = type("_Recorded", (), {name: _recorded(name) for name in _METHODS})


class RecordingCore(Recorder, _Recorded, pymmcore.CMMCore):
    """A CMMCore that records, injects faults, and feigns that devices can be sequenced.

    Calls are recorded when they have ended, each with the thread it ran on; ``calls`` is in the order of their beginning.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: list[list[Any]] = []
        self._guard = threading.Lock()
        self._feigned: dict[tuple[str, tuple[Any, ...]], Callable[..., Any]] = {}
        self.recording = True

    # ---- what was called ----------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        with self._guard:
            return [record[0] for record in self._records if record[0] is not None]

    def forget(self) -> None:
        """Empty the record."""
        with self._guard:
            self._records.clear()

    def on(self, method: str, **fault: Any) -> Rule:
        if method not in _METHODS:
            raise AttributeError(f"CMMCore has no method {method!r}")
        return super().on(method, **fault)

    def lose_frame(self, number: int) -> None:
        """Let the next sequence that comes to this frame (counted from 0) lose it; not its last, since it is lost when it is fetched.

        The frame is known by the camera's own number: how often an empty buffer is looked into before does not count.
        """
        core = pymmcore.CMMCore

        def pop(original: Callable[..., Any], *args: Any) -> Any:
            image = original(*args)
            if args[-1].GetSingleTag("ImageNumber").GetValue() == str(number):
                rule.heal()
                while not core.getRemainingImageCount(self) and core.isSequenceRunning(self):
                    time.sleep(0.001)
                image = original(*args)
            return image

        rule = self.on("popNextImageMD", times=None, do=pop)

    # ---- devices that feign to be sequenceable ------------------------------------------------------------------

    def feign_xy_sequence(self, stage: str, max_length: int = 100) -> None:
        """Let an XY stage say that it can be sequenced; loading, starting and stopping are recorded only."""
        self._feign("XYStage", (stage,), max_length)

    def feign_exposure_sequence(self, camera: str, max_length: int = 100) -> None:
        """Let a camera say that its exposure can be sequenced."""
        self._feign("Exposure", (camera,), max_length)

    def feign_stage_sequence(self, stage: str, max_length: int = 100) -> None:
        """Let a single-axis stage say that it can be sequenced."""
        self._feign("Stage", (stage,), max_length)

    def unfeign(self) -> None:
        """Let devices say the truth again."""
        self._feigned.clear()

    def _feign(self, kind: str, key: tuple[str, ...], max_length: int) -> None:
        answers = {f"is{kind}Sequenceable": True, f"get{kind}SequenceMaxLength": max_length}
        for name in (f"load{kind}Sequence", f"start{kind}Sequence", f"stop{kind}Sequence"):
            answers[name] = None
        for name, value in answers.items():
            self._feigned[name, key] = lambda *_, value=value: value

    def _feigned_by(self, name: str, args: tuple[Any, ...]) -> Callable[..., Any] | None:
        key = args[: 2 if "Property" in name else 1]
        return self._feigned.get((name, key)) if all(isinstance(part, str) for part in key) else None

    # ---- each call ----------------------------------------------------------------------------------------------

    def record_call(self, name: str, original: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        record: list[Any] = [None]
        if self.recording:
            with self._guard:
                self._records.append(record)
        start = time.monotonic()
        feigned = self._feigned_by(name, args) if self._feigned else None
        run = feigned or original
        rules = self.rules_for(name, args) if self._rules else ()
        error: BaseException | None = None
        try:
            for rule in rules:
                return rule.action(run, *args)
            return run(*args)
        except BaseException as exc:
            error = exc
            raise
        finally:
            kept = tuple(list(arg) if isinstance(arg, list | tuple) else arg for arg in args)
            thread = threading.current_thread().name
            record[0] = Call(name, kept, thread, start, time.monotonic(), error, feigned is not None or bool(rules))
