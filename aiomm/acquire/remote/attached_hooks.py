"""The user's hooks in an acquisition that Micro-Manager conducts: Java asks, the hook answers, the gate lets through what it says.

Java cannot skip an event when it makes it: it would drop all that come after. So an event for which ``event_generation_hook_fn``
returns None goes on with a mark, and is taken out before the hardware moves. For a single image Java calls the hook at the camera
after the exposure: here the notice that the camera is armed calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aiomm.acquire.events import AcquisitionEvent
from aiomm.acquire.hooks import copied, same
from aiomm.acquire.orders import HookCall
from aiomm.acquire.remote.events import decode_events, encode_event
from aiomm.errors import EventError, HookError

if TYPE_CHECKING:
    from aiomm.acquire.remote.attached import AttachedEngine
    from aiomm.acquire.remote.gate import Gate
    from aiomm.acquire.remote.pipes import HookPipe
    from aiomm.acquire.run import Run

SKIPPED = "aiomm: a hook has returned None"
"""A tag of events that are to be taken out."""

Shown = list[dict[str, Any]]


def needed_hooks(given: frozenset[str]) -> frozenset[str]:
    """Say which hooks Java has to call for those that the user has given."""
    needed = set(given)
    if "event_generation" in given:
        needed.add("pre_hardware")
    if "post_camera" in given:
        needed.add("post_hardware")  # which event it is that the camera is armed for
    return frozenset(needed)


class AttachedHooks:
    """Serves the hooks of one acquisition.

    Parameters
    ----------
    run, engine
        The acquisition.
    given
        The hooks that the user has given.
    gates
        By hook.
    """

    def __init__(self, run: Run, engine: AttachedEngine, given: frozenset[str], gates: dict[str, Gate]) -> None:
        self._run = run
        self._engine = engine
        self._given = given
        self._gates = gates
        self._placed: Shown = []  # the events for which all is in place
        self._due = False  # the camera is to be armed for them
        self._armed = False  # it is armed, which nobody was told yet
        self._told = True  # the hook at the camera has run for them

    async def serve(self, which: str, pipe: HookPipe) -> None:
        """Answer what Java asks of one hook, until the end."""
        while (message := await pipe.recv()) is not None:
            if which == "post_camera":
                await self._at_camera(message)
                await pipe.answer(message)
            else:
                await pipe.answer(await self._at_gate(which, self._gates[which], message))

    async def serve_armed(self) -> None:
        """Call the hook at the camera for single images, as the camera is armed."""
        while not self._engine.stopping:
            await self._engine.until("armed", lambda: self._armed)
            if self._armed:
                self._armed = False
                await self._ask("post_camera", self._placed)
                self._told = True
                self._engine.look()

    def hear_armed(self, axes: Any) -> None:
        """Take the notice that the camera is armed for a single image."""
        if self._due and len(self._placed) == 1 and self._placed[0].get("axes", {}) == axes:
            self._begin_armed()

    def _begin_armed(self) -> None:
        self._due, self._armed = False, True
        self._engine.look()

    async def shut(self) -> None:
        """Let nothing through that would be exposed: the acquisition ends."""
        for which, gate in self._gates.items():
            if which != "event_generation":
                await gate.shut()

    # ---- one question -------------------------------------------------------------------------------------------

    async def _at_camera(self, message: Any) -> None:
        """Java asks when a sequence runs, or when a single image has been exposed, whose hook is waited for."""
        shown = decode_events(message)
        if len(shown) > 1:
            await self._ask("post_camera", shown)
        else:
            if self._due:  # its notice has not come yet
                self._begin_armed()
            await self._engine.until("post_camera", lambda: self._told)

    async def _at_gate(self, which: str, gate: Gate, message: Any) -> Any:
        """Ask the hook, choose what goes on, and give the answer for Java."""
        plain = _plain(message)
        shown = await self._exact(gate, decode_events(plain))
        kept = [event for event in shown if SKIPPED not in event.get("tags", {})]
        answers: Shown | None = kept
        if which in self._given and kept:
            answers = await self._ask(which, kept)
        if self._engine.stopping and which != "event_generation":
            answers = None
        if which == "post_hardware":
            self._placed, self._due = answers or [], bool(answers) and "post_camera" in self._given
            self._told = not self._due
        if answers is None and not self._engine.stopping:
            self._engine.skipped(kept)
        if which == "event_generation":
            pattern = await _pattern_of(gate, message)
            await gate.change()
            if answers is not None:
                return {**answers[0], **pattern}
            return {**shown[0], "tags": {**shown[0].get("tags", {}), SKIPPED: "yes"}}
        if not answers:
            await gate.skip()
            return plain
        if same(answers, shown):
            await gate.go_on()
            return plain
        if any("slm_pattern" in event for event in _listed(message)):
            self._run.fail(HookError(f"{which}_hook_fn changed an event with an SLM pattern, which Micro-Manager's engine does not tell"))
            await gate.skip()
            return plain
        await gate.change()
        return answers if len(answers) > 1 else answers[0]

    async def _ask(self, which: str, events: Shown) -> Shown | None:
        """Run a hook. Gives the events to go on with, ready for Java; None to skip them. An error ends the acquisition."""
        argument = copied(events[0] if len(events) == 1 else events)
        call = HookCall(which, argument, self._engine.submission, None)
        self._run.run_hook(call)
        await self._engine.until("armed" if which == "post_camera" and len(events) == 1 else which, lambda: call.done)
        if call.error is not None or not call.done:
            if call.error is not None:
                self._run.fail(call.error)
            return None if which != "event_generation" else events
        if call.result is None or which == "post_camera":
            return None
        answers = list(call.result) if isinstance(call.result, list | tuple) else [call.result]
        if same(answers, events):
            return events
        try:
            return [_for_java(answer) for answer in answers]
        except (EventError, TypeError) as error:
            failure = HookError(f"{which}_hook_fn returned an event that cannot be used: {error}")
            failure.__cause__ = error
            self._run.fail(failure)
            return None if which != "event_generation" else events

    async def _exact(self, gate: Gate, shown: Shown) -> Shown:
        """Put times right, which Java has told in whole seconds."""
        if not any("min_start_time" in event for event in shown):
            return shown
        event = await gate.event()
        listed = await event.call("getSequence") if len(shown) > 1 else None
        start = await self._engine.session.acquisition.call("getStartTimeMs")
        for number, each in enumerate(shown):
            if "min_start_time" in each:
                one = event if listed is None else await listed.get(number)
                each["min_start_time"] = (await one.call("getMinimumStartTimeAbsolute") - start) / 1000
        return shown


async def _pattern_of(gate: Gate, message: Any) -> dict[str, np.ndarray]:
    """Give the SLM pattern of an event, which Java writes as the name of an array, to go on with the answer."""
    if "slm_pattern" not in message:
        return {}
    pattern = np.asarray(await (await gate.event()).call("getSLMImage"))
    return {"slm_pattern": pattern.astype(np.int32) if pattern.dtype.itemsize > 1 else pattern.view(np.uint8)}


def _for_java(answer: dict[str, Any]) -> dict[str, Any]:
    event = AcquisitionEvent.from_dict(answer)
    encoded = encode_event(event, camera=True)
    encoded["axes"] = answer.get("axes", {})  # Java has axes of its own: none is added for a channel
    if event.min_start_time is not None:
        encoded["min_start_time"] = float(event.min_start_time)
    return encoded


def _listed(message: Any) -> Shown:
    return message if isinstance(message, list) else [message]


def _plain(message: Any) -> Any:
    """Leave out what Java cannot read back: it writes a pattern as the name of an array."""
    plain = [{key: value for key, value in event.items() if key != "slm_pattern"} for event in _listed(message)]
    return plain if isinstance(message, list) else plain[0]
