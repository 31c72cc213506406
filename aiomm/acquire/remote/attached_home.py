"""A home for acquisitions that Micro-Manager makes and conducts: Micro-Magellan's.

Micro-Magellan decides what is acquired, when it ends, and where it is saved; here its acquisition gets the user's hooks and image
processor, and what it saves is followed. Only its published interface is used: ``createAcquisition(index, start)`` and
``createExploreAcquisition(start)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiomm.acquire.remote.attached import AttachedEngine
from aiomm.acquire.remote.attached_hooks import AttachedHooks, needed_hooks
from aiomm.acquire.remote.engine import TAKEN
from aiomm.acquire.remote.home import JavaHome
from aiomm.acquire.remote.session import JavaSession, Wanted
from aiomm.acquire.remote.storage import JavaWriter
from aiomm.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiomm.acquire.remote.pipes import HookPipe
    from aiomm.acquire.run import Run
    from aiomm.acquire.target import Target
    from aiomm.bridge import JavaObject
    from aiomm.dataset.storage import Frame


class AttachedHome(JavaHome):
    """Micro-Magellan in a running Micro-Manager.

    Parameters
    ----------
    magellan
        Number of its acquisition, or None: an explore acquisition.
    given
        The hooks that the user has given, ``event_generation`` too.
    **options
        Those of `JavaHome`.
    """

    refusal = "Micro-Magellan makes the events of this acquisition: choose them in its window, or open an Acquisition without magellan_*="

    def __init__(self, *args: Any, magellan: int | None, given: frozenset[str], **options: Any) -> None:
        super().__init__(*args, hooks=frozenset(), **options)
        self._magellan = magellan
        self._given = given
        self._attached: AttachedEngine
        self.read_always = frozenset({*TAKEN, "pre_hardware", "pre_snap"})
        self._run: Run
        self._service: AttachedHooks

    def _open_ahead(self) -> None:
        """Nothing: what Micro-Magellan makes is made there, however long it takes."""

    def engine(self, run: Run, **options: Any) -> AttachedEngine:
        self._run = run
        self._engine = self._attached = AttachedEngine(run, self._core, **{**options, "hooks": needed_hooks(self._given)})
        return self._attached

    async def open_storage(self, run: Run, target: Target, *, processed: bool) -> None:
        engine = self._attached
        java = await self._make()
        wanted = Wanted(
            directory=None,
            name=None,
            show_viewer=False,
            queue_size=target.queue_size,
            debug=self._debug,
            hooks=needed_hooks(self._given),
            images=processed,
            tiling=None,
        )
        engine.session = session = self.session = await JavaSession.open(self.owner, wanted, existing=java)
        self._opened.push_async_callback(session.close)
        session.gone.add_done_callback(lambda _: engine.look())
        if session.path is None:
            raise UnsupportedError(
                "this acquisition of Micro-Magellan saves nothing to disk, and Micro-Manager gives its images to nobody else"
            )
        if self._debug:
            await java.call("setDebugMode", [True])
        engine.direct = engine.images_over = not processed
        self._service = AttachedHooks(run, engine, self._given, session.gates)
        engine.before_end = self._service.shut

        def saved(frames: list[Frame]) -> None:
            engine.own(frames)
            run.on_saved(frames)

        self._writer = writer = JavaWriter(
            session.path,
            session.summary,
            queue_size=target.queue_size,
            on_saved=saved,
            on_room=lambda: run.post(("room",)),
            on_failed=run.on_failed,
            allow_duplicates=True,
        )
        run.writer, run.dataset, run.folder = writer, writer.dataset, session.path
        engine.begin()
        await session.start()  # before anybody can act on it in Java, which would start it too

    async def _make(self) -> JavaObject:
        magellan = await self.owner.get_magellan(new_socket=True)
        try:
            if self._magellan is None:
                made: JavaObject = await magellan.call("createExploreAcquisition", [False])
            else:
                made = await magellan.call("createAcquisition", [self._magellan, False])
        finally:
            await magellan.aclose()
        return made

    def start(self, run: Run, on_end: Callable[[Any, BaseException | None], None]) -> None:
        self._begin(self._attached.follow(), run, on_end)

    def stages(self, run: Run) -> Sequence[Callable[[], Awaitable[None]]]:
        stages = list(super().stages(run))
        if "post_camera" in self._given:
            stages.append(self._service.serve_armed)
        return stages

    def _heard(self, milestone: str, payload: Any) -> None:
        super()._heard(milestone, payload)
        if milestone == "pre_snap" and "post_camera" in self._given:
            self._service.hear_armed(payload)

    def _why_not_shown(self) -> str:
        return "Micro-Magellan has made it without a viewer"

    async def _hook(self, which: str, pipe: HookPipe) -> None:
        await self._service.serve(which, pipe)
