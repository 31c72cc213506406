"""A running Micro-Manager as the home of an acquisition's microscope: connect, make the acquisition in Java, bring what it tells.

Two ways of saving. NDTiff is written by Micro-Manager, and its notices of saved images are followed; with an image processor and
a display the images come here and what it returns goes back. Images of a processor that Micro-Manager is not to show, those in any
other format, and those in memory are saved here by aiomm's own writers; Micro-Manager then keeps none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from typing import TYPE_CHECKING, Any

from aiomm.acquire.mailbox import in_thread, outlast
from aiomm.acquire.metadata import refuse_pixels
from aiomm.acquire.processing import plain, same_axes
from aiomm.acquire.remote.asking import Asking
from aiomm.acquire.remote.counting import AskedFrame, axes_in
from aiomm.acquire.remote.devices import JavaDevices
from aiomm.acquire.remote.drive import drive
from aiomm.acquire.remote.ending import end_failed_storage, ended_by_java, quietly, writing_failure
from aiomm.acquire.remote.engine import TAKEN, JavaEngine
from aiomm.acquire.remote.events import restore_text
from aiomm.acquire.remote.folders import choosing_folder
from aiomm.acquire.remote.freeing import CannotFreeError, Freed, free_engine
from aiomm.acquire.remote.grouping import java_groups
from aiomm.acquire.remote.memory import EngineMemory
from aiomm.acquire.remote.opening import Ahead
from aiomm.acquire.remote.session import JavaSession, Wanted
from aiomm.acquire.remote.storage import JavaWriter
from aiomm.acquire.remote.turns import refuse_held
from aiomm.acquire.target import open_storage
from aiomm.bridge import Bridge
from aiomm.bridge.channels import channels_of
from aiomm.core.turns import current_turn
from aiomm.dataset.damage import repair_command
from aiomm.dataset.ndtiff.folder import check_directory, check_name
from aiomm.dataset.ndtiff.pyramid import complete_pyramid
from aiomm.errors import AiommError, BridgeError, CoreError, JavaException, ServerLostError, StorageError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from aiomm.acquire.capabilities import Capabilities, Needs
    from aiomm.acquire.remote.attached import AttachedEngine
    from aiomm.acquire.remote.pipes import HookPipe
    from aiomm.acquire.run import Run
    from aiomm.acquire.sequencing import Grouping
    from aiomm.acquire.target import Target
    from aiomm.bridge import JavaObject
    from aiomm.core import BridgedCore, Core
    from aiomm.dataset.storage import Frame

IN_JAVA = frozenset({"post_hardware", "post_camera"})
"""The hooks that Java's engine has to call: aiomm calls the others itself before it sends anything."""
TOLD = {"post_hardware", "pre_snap", "post_snap", "pre_sequence_started", "post_sequence_stopped"}
"""What is passed on as Java tells it: the same as on a core in this process. ``pre_hardware`` is told here, before its hook."""
NO_FOLDER = re.compile("make acquisition directory|initialize storage")
SILENT_S = 0.5
"""After this long without a word from Java at its end, its storage is looked at: most need a hundredth of it."""

logger = logging.getLogger("aiomm")

LOOKS_S = 3.0
"""How long Micro-Manager may take to end what it is told to end until it is seen whether its process runs; then again."""
GREETS_S = 4.0
"""How long its process may take to greet."""


class JavaHome:
    """A running Micro-Manager.

    Parameters
    ----------
    bridge : Bridge or None
        An open bridge to it; or None: one is opened for this acquisition alone.
    port : int
        Of its server, if there is no bridge.
    timeout : float
        For connecting and control messages, in ms, if there is no bridge.
    hooks : frozenset of str
        Which hooks the user has given.
    show_viewer : bool
        Whether Micro-Manager shows the images.
    debug : bool
        Whether Micro-Manager's engine logs what it does.
    """

    session: JavaSession
    refusal = ""
    grouping: Grouping = staticmethod(java_groups)
    read_always = frozenset(TAKEN)
    """The notices whose axes are read also where nobody wants notifications."""

    def __init__(self, bridge: Bridge | None, port: int, timeout: float, *, hooks: frozenset[str], show_viewer: bool, debug: bool) -> None:
        self._own = bridge is None
        self.owner: Bridge = Bridge(port, timeout=timeout) if bridge is None else bridge
        self._hooks = hooks & IN_JAVA
        self._show_viewer = show_viewer
        self._debug = debug
        self._core: BridgedCore
        self._asking: Asking
        self._engine: JavaEngine | AttachedEngine | None = None
        self._writer: JavaWriter | None = None  # if Micro-Manager saves
        self._in_hand: Frame | None = None  # has come, and waits to be processed or saved
        self._tiled = False
        self._levels: int | None = None
        self._opened: contextlib.AsyncExitStack = contextlib.AsyncExitStack()
        self._freed = Freed()
        self._devices: JavaDevices
        self._routine: asyncio.Task[Any] | None = None
        self._data_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # Java has saved all, or is gone

    # ---- opening ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect."""
        if self._own:
            await self.owner.__aenter__()
            self._opened.push_async_callback(self.owner.aclose)
        refuse_held(current_turn.get(), self.owner)
        self._open_ahead()
        self._core = await self.owner.get_core(new_socket=True)
        if not self._own:  # one of its own releases all that it has at its end, each port for itself and all at once
            self._opened.push_async_callback(self._core.aclose)
        self._asking = Asking(self._core)

    def _open_ahead(self) -> None:
        """Have opened meanwhile what will be needed."""
        self._ahead = Ahead(self.owner)
        self._opened.push_async_callback(self._ahead.aclose)

    async def core(self) -> Core:
        return self._core

    def engine(self, run: Run, **options: Any) -> JavaEngine | AttachedEngine:
        devices = JavaDevices(self._core, self._asking)
        devices.free = self._free_engine
        self._devices = devices
        self._engine = JavaEngine(run, self._core, self._asking, devices, **options)
        return self._engine

    async def open_storage(self, run: Run, target: Target, *, processed: bool) -> None:
        engine = self._ready()
        assert isinstance(engine, JavaEngine)
        brought = processed and not self._show_viewer  # nobody needs in Java what a processor here makes of its images
        java_saves = target.directory is not None and target.format == "ndtiff" and not brought
        if target.directory is not None:
            check_name(target.name)
            check_directory(target.directory, target.name)
        tiling = None if target.overlap is None else (*target.overlap, target.levels)
        self._tiled, self._levels = java_saves and tiling is not None, target.levels
        wanted = Wanted(
            directory=str(target.directory) if java_saves else None,
            name=target.name,
            show_viewer=self._show_viewer and java_saves,
            queue_size=target.queue_size,
            debug=self._debug,
            hooks=self._hooks,
            images=processed or not java_saves,
            tiling=tiling if java_saves else None,
            gated=True,
        )
        if self._show_viewer and not java_saves:
            logger.info("show_display: Micro-Manager shows what it saves, and these images are saved here; they are not shown")
        try:
            engine.session = session = self.session = await JavaSession.open(
                self.owner, wanted, core=self._core, ahead=self._ahead, last=self._own
            )
        except JavaException as error:
            if java_saves and NO_FOLDER.search(error.java_message):
                raise StorageError(
                    f"Micro-Manager cannot make a dataset {target.name!r} in {target.directory}: {error.java_message} "
                    "(it must be a folder on Micro-Manager's computer to which it may write)"
                ) from error
            await self._asking.refuse_no_camera()
            raise
        self._opened.push_async_callback(session.close)
        self._opened.push_async_callback(self._freed.aclose)
        session.gone.add_done_callback(lambda _: engine.look())
        if session.images is not None:
            session.images.on_arrival = lambda metadata: engine.moved_on(lambda: metadata.get("Axes"), here=True)
        engine.memory = EngineMemory(self.owner, session.acquisition)
        self._opened.push_async_callback(engine.memory.aclose)
        engine.direct = not wanted.images
        engine.images_over = not wanted.images
        if not java_saves:
            async with choosing_folder(self.owner):
                await open_storage(run, target, session.summary, processed=processed)
            return
        assert session.path is not None
        self._writer = writer = JavaWriter(
            session.path,
            session.summary,
            queue_size=2 * target.queue_size,  # as many wait in Java
            on_saved=run.on_saved,
            on_room=lambda: run.post(("room",)),
            on_failed=run.on_failed,
            allow_duplicates=run.allow_duplicates,
        )
        run.writer, run.dataset, run.folder = writer, writer.dataset, session.path

    def _ready(self) -> JavaEngine | AttachedEngine:
        assert self._engine is not None
        return self._engine

    def add(self, user: Any) -> None:
        if not self._own:  # one of its own closes last, and would wait for this acquisition
            self.owner.users.add(user)

    def discard(self, user: Any) -> None:
        self.owner.users.discard(user)

    # ---- while it runs ------------------------------------------------------------------------------------------

    def start(self, run: Run, on_end: Callable[[Any, BaseException | None], None]) -> None:
        engine = self._ready()
        assert isinstance(engine, JavaEngine)
        self._begin(drive(engine.routine()), run, on_end)

    def _begin(self, routine: Coroutine[Any, Any, Any], run: Run, on_end: Callable[[Any, BaseException | None], None]) -> None:
        def ended(task: asyncio.Task[Any]) -> None:
            on_end(None, None if task.cancelled() else task.exception())

        self._routine = run.loop.create_task(routine, name="aiomm: Micro-Manager's engine")
        self._routine.add_done_callback(ended)

    def stages(self, run: Run) -> Sequence[Callable[[], Awaitable[None]]]:
        session, writer = self.session, self._writer
        stages: list[Callable[[], Awaitable[None]]] = [lambda: self._hear(run), lambda: self._mind_the_end(run), self._mind_the_engine]
        stages += [lambda which=which, pipe=pipe: self._hook(which, pipe) for which, pipe in session.hooks.items()]  # type: ignore[misc]
        if (pipe := session.images) is not None:
            stages.append(lambda: self._images(run))
            if writer is not None:
                stages.append(lambda: writer.serve(pipe))
        return stages

    async def _hear(self, run: Run) -> None:
        """Bring what Java tells by itself."""
        engine = self._ready()
        try:
            async for notice in self.session.notices:
                if notice.milestone == "image_saved":
                    engine.moved_on(functools.partial(axes_in, notice.told or b""), here=False)
                    if self._writer is not None and notice.told:
                        self._writer.saved(notice.told)
                    elif self._writer is not None:  # of what it could not write there is no record
                        run.fail(await self._not_written())
                    continue
                if notice.milestone == "acq_events_finished" and not engine.ending and not run.stopping:
                    engine.failure = ended_by_java(await self.session.check())
                    run.fail(engine.failure)
                told = notice.milestone in TOLD
                payload = notice.payload if engine.listening or notice.milestone in self.read_always else None
                payload = engine.whole_axes(payload) if told and payload is not None and notice.doubtful else payload
                self._heard(notice.milestone, payload)
                if told:
                    run.note(notice.milestone, payload)
        finally:
            engine.events_over = True  # nobody would hear of it any more
            engine.look()
            if not self._data_over.done():
                self._data_over.set_result(None)

    async def _mind_the_end(self, run: Run) -> None:
        """See now and then, while an acquisition is to end before its time, that Micro-Manager's process runs."""
        stopping = run.loop.create_task(run.bell.until(lambda: run.stopping), name="aiomm: until it is to end")
        try:
            await asyncio.wait({stopping, self._data_over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await asyncio.wait([stopping])
        while not self._data_over.done():
            await asyncio.wait({self._data_over}, timeout=LOOKS_S)
            if not self._data_over.done():
                await self.session.see_that_it_runs(GREETS_S)

    async def _mind_the_engine(self) -> None:
        """See, whenever Micro-Manager's engine does not begin for long, whether it waits for a program that is gone."""
        engine = self._ready()
        if not isinstance(engine, JavaEngine):  # Micro-Manager's own acquisition waits for events of its own
            return
        while not self._data_over.done():
            overdue = asyncio.ensure_future(engine.patience.over.wait())
            try:
                await asyncio.wait({overdue, self._data_over}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                overdue.cancel()
                await asyncio.wait([overdue])
            if self.session.lost is not None:
                return
            if not self._data_over.done():
                await self._free_engine()
                engine.patience.again(LOOKS_S)

    async def _free_engine(self) -> bool:
        freeing = asyncio.ensure_future(self._free())
        cancelled = await outlast(freeing)  # half of it would hold up the end
        freed = freeing.result()
        if cancelled is not None:
            raise cancelled
        return freed

    async def _free(self) -> bool:
        try:
            return await free_engine(self.owner, self._freed)
        except CannotFreeError as error:
            self.session.give_up(error)
        except BridgeError as error:
            logger.debug("Micro-Manager does not say for whom its engine waits: %s", error)
        finally:
            self._devices.found_closed(*self._freed.closed)
        return False

    async def _not_written(self) -> AiommError:
        error = await writing_failure(self.session.acquisition)
        try:
            await Asking(self._core).read(refuse_pixels)  # since the look before the first event a preset may have changed them
        except UnsupportedError as refused:
            refused.__cause__ = error
            return refused
        except CoreError:
            pass  # what could not be written says more
        failure = StorageError(f"Micro-Manager could not save an image: {error or 'it does not say why'}")
        failure.__cause__ = error
        return failure

    def _heard(self, milestone: str, payload: Any) -> None:
        self._ready().hear(milestone, payload)

    async def _hook(self, which: str, pipe: HookPipe) -> None:
        """Bring what Java's engine asks a hook."""
        engine = self._ready()
        assert isinstance(engine, JavaEngine)
        while (message := await pipe.recv()) is not None:
            engine.ask(which, pipe, message)

    async def _images(self, run: Run) -> None:
        """Bring the images that Java's engine takes. Whatever becomes of them, all are taken: else Java's engine would stand still."""
        engine, pipe = self._ready(), self.session.images
        assert pipe is not None
        try:
            while (item := await pipe.recv()) is not None:
                engine.moved_on(here=True)  # Java's engine may have waited for room here
                if run.stopping and run.error is not None:
                    run.left.append(item[1].get("Axes", {}))
                    continue
                try:
                    await self._hand_on(run, engine, *item, pipe.text)
                except AiommError as error:
                    run.fail(error)
        finally:
            engine.images_over = True
            engine.look()
        if self._writer is None:  # nothing goes back to Java: it ends its own data while the hardware is put back
            await self._no_more_images()

    async def _hand_on(
        self, run: Run, engine: JavaEngine | AttachedEngine, pixels: Any, metadata: dict[str, Any], text: bytes | None
    ) -> None:
        axes = metadata.get("Axes", {})
        frame = engine.take_expected(axes)
        if frame is None:
            return
        frame.pixels, frame.metadata, frame.bit_depth = pixels, metadata, metadata.get("BitDepth")
        if isinstance(frame, AskedFrame):
            frame.check(metadata)
            _, event, _ = frame.token
            restore_text(metadata, frame.axes, event.tags)
            if frame.exposure is None and same_axes(frame.axes, axes) and plain(metadata):  # then nothing was changed
                frame.text = text
        self._in_hand = frame
        while True:
            engine.room.clear()
            if run.try_put(frame):
                self._in_hand = None
                return
            if run.stopping:
                run.left.append(frame.axes)
                self._in_hand = None
                return
            await engine.room.wait()

    # ---- the ends -----------------------------------------------------------------------------------------------

    def finish_writing(self, run: Run) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._finish_writing(run))

    async def _finish_writing(self, run: Run) -> None:
        try:
            await self._finish_files(run)
        finally:
            if self.session.lost is None:  # Java has no more to say: its death would go unheard while callbacks catch up
                self._opened.callback(channels_of(self._core).watch(lambda error: self._gone(run, error)))

    def _gone(self, run: Run, error: AiommError) -> None:
        if not run.stopping:
            lost = ServerLostError(f"Micro-Manager is gone: {error}")
            run.fail(lost)

    async def _finish_files(self, run: Run) -> None:
        session, writer = self.session, self._writer
        whole = session.lost is not None or await self._all_data()
        if writer is None:
            await asyncio.shield(in_thread(run.writer.finish))
            return
        try:
            await writer.settle()
        finally:
            writer.finish()
        if self._tiled and len(writer.dataset) and not run.stopping:
            await asyncio.shield(in_thread(lambda: complete_pyramid(writer.path, self._levels)))
        await asyncio.shield(in_thread(writer.check_whole))
        if not whole and run.error is None:
            raise StorageError(
                f"Micro-Manager could not write the end of its file in {writer.path} (is its disk full?); all images that were reported "
                f"as saved are there, and {repair_command(writer.path)} makes the folder whole"
            )

    async def _all_data(self) -> bool:
        """Wait until Java has saved what it has, and has said so, or is gone; tell whether it could write to the end."""
        whole, last = True, asyncio.ensure_future(self._no_more_images())  # beside it: Java may take none any more
        try:
            while not self._data_over.done():
                await asyncio.wait([self._data_over], timeout=SILENT_S if self._writer is not None else None)
                if not self._data_over.done() and await self._storage_failed():
                    whole = False
        finally:
            last.cancel()
            await asyncio.wait([last])
        return whole

    async def _no_more_images(self) -> None:
        if self._writer is not None and self.session.images is not None:
            self._writer.end()  # it says so when it has sent what was put: Java may not have connected for it until now
        elif self.session.images is not None:
            await quietly(self.session.images.finish())

    async def _storage_failed(self) -> bool:
        try:
            return await end_failed_storage(self.session.acquisition)
        except AiommError as error:  # whoever reads its notices hears of a lost Java
            logger.debug("Micro-Manager does not say how its storage fares: %s", error)
            return False

    def lost(self, run: Run) -> Sequence[Frame]:
        all_asked = isinstance(run.error, ServerLostError | StorageError)  # else what Java has not taken yet is not lost
        frames: list[Frame] = []
        if self._writer is not None and (all_asked or run.processing is not None):
            frames += self._writer.outstanding
        if run.processing is not None:
            frames += run.processing.frames
        if self._in_hand is not None:
            frames.append(self._in_hand)
        return [*frames, *self._ready().outstanding] if all_asked else frames

    def abandon(self) -> None:
        if self._routine is not None:
            self._routine.cancel()

    async def capabilities(self, wanted: Needs) -> Capabilities:
        self._asking.forget()
        return await self._asking.capabilities(wanted, image=True)

    def viewer(self) -> JavaObject:
        found = self.session.viewer
        if found is None:
            raise UnsupportedError(f"get_viewer(): Micro-Manager shows no images of this acquisition: {self._why_not_shown()}")
        return found

    def _why_not_shown(self) -> str:
        if not self._show_viewer:
            return "it was made with show_display=False"
        return "it runs without a screen" if self._writer is not None else "they are saved here, and it shows what it saves"

    async def aclose(self) -> None:
        """Let go of the acquisition in Java, and of a bridge of its own."""
        closed = asyncio.ensure_future(self._opened.aclose())
        cancelled = await outlast(closed)
        try:
            closed.result()
        except BridgeError as error:
            logger.debug("closing the acquisition in Micro-Manager: %s", error)
        if cancelled is not None:
            raise cancelled
