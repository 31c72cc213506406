"""The user's handle on an acquisition: open it, submit events, listen, abort, close."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal

from aiomm.acquire import parameters as check
from aiomm.acquire.calls import elsewhere, refuse_end
from aiomm.acquire.capabilities import needs
from aiomm.acquire.feeder import read_list
from aiomm.acquire.losses import raise_alone
from aiomm.acquire.mailbox import outlast
from aiomm.acquire.opening import open_run, refuse
from aiomm.acquire.run import Run
from aiomm.acquire.sources import open_source
from aiomm.acquire.status import Status
from aiomm.acquire.streams import ImageStream, NotificationStream, Policy
from aiomm.acquire.submission import Submission
from aiomm.core.turns import current_turn
from aiomm.errors import AcquisitionFinished, ClosedError, QueueFull
from aiomm.suggest import suggest_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from aiomm.acquire.callbacks import NotificationCallback, SavedCallback
    from aiomm.acquire.home import Home
    from aiomm.acquire.plan import Plan
    from aiomm.acquire.supervisor import Supervisor
    from aiomm.core import BridgedCore, LocalCore
    from aiomm.dataset import Dataset
    from aiomm.dataset.storage import Durability

SUBMISSIONS_LIMIT = 10_000


class Acquisition:
    """Acquire images and save them.

    ::

        async with aiomm.Acquisition("data", "first", core=core) as acq:
            await acq.acquire(aiomm.multi_d_acquisition_events(num_time_points=5, z_start=0, z_end=4, z_step=1))

    Equally ``acq = await Acquisition.open(...)`` and ``await acq.aclose()``, from any task of the loop. Leaving the block
    finishes what was submitted; an exception in the block, or a cancellation, stops everything safely and keeps what is
    saved. An error of a hook, processor, device or of the storage ends the acquisition and interrupts the block.

    Parameters
    ----------
    directory : str or path, optional
        Folder in which to save; without it images are kept in memory.
    name : str, optional
        The dataset becomes ``directory/name_1``, or the next free number.
    image_process_fn : callable, optional
        ``(image, metadata)``, ``(image, metadata, queue)`` or ``(image, metadata, bridge, queue)``; returns
        ``(image, metadata)``, a list of such tuples, or None (the image is not saved). Coroutine or plain function.
    event_generation_hook_fn, pre_hardware_hook_fn, post_hardware_hook_fn : callable, optional
        ``(event)``, ``(event, queue)`` or ``(event, bridge, queue)``; get an event, or a list of events that were merged
        into a hardware sequence; return it, changed or not, or None: it is skipped and the sample is not exposed.
    post_camera_hook_fn : callable, optional
        The same, called when the camera is armed and before its images are waited for; what it returns is not used.
    show_display : bool
        Show the images; without a viewer this is one line in the log.
    storage_monitor_callback_fn : callable, optional
        ``(axes)``, called for each saved image.
    tile_overlap : int or (int, int), optional
        Pixels by which neighbouring tiles overlap, along x and y. Each image is then a tile with the axes ``row`` and
        ``column``; the stage goes where the pixel-size affine transform says, and NDTiff is saved with reduced levels.
    max_multi_res_index : int, optional
        Number of the coarsest level: n is reduced 2**n times, 0 makes none; as many as it takes if None.
    magellan_acq_index : int, optional
        Run the acquisition at this position (from 0) of Micro-Magellan's list, in a running Micro-Manager. It makes the events,
        saves where its window says, and decides when it ends: leaving the block waits for that.
    magellan_explore : bool
        Run an explore acquisition of Micro-Magellan's.
    process : bool
        Run hooks and the image processor in worker processes. There ``bridge`` is one of their own to the same Micro-Manager.
    saving_queue_size : int
        How many images may wait in memory for the writer, and as many for the image processor.
    bridge_timeout, port : int
        Of a running Micro-Manager: for connecting and control messages, in ms; of its server.
    debug : bool
        Log what happens.
    core_log_debug : bool
        Have MMCore write debug messages to its log.
    core : LocalCore or BridgedCore
        The microscope: in this process, or what ``await bridge.get_core()`` gives.
    bridge : Bridge
        The microscope of a running Micro-Manager; without ``core`` and ``bridge``, the Micro-Manager at ``port``.
    image_saved_fn : callable, optional
        ``(axes, dataset)`` or ``(axes, dataset, queue)``, called for each saved image.
    notification_callback_fn : callable, optional
        ``(notification)``, called for everything that happens; see `Notification`.
    format : {"ndtiff", "ome-zarr", "memory"}
        How images are saved; ``"memory"`` goes without ``directory``.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Run the image processor there; results are saved in order.
    on_error : {"raise", "continue"}
        What a device's failure or a missed frame does: end the acquisition, or fail the events it concerns.
    durability : {"none", "interval", "every"}
        Whether *saved* survives a loss of power too; see the writer.
    look_ahead : int
        How many events are pulled from an iterator before their turn; also the longest run of them that is merged.
    limits : dict, optional
        Soft limits in µm: ``{"Z": (0, 100), "XY": ((0, 1000), (0, 1000))}`` by device; nothing moves past them.
    clock : {"submission", "acquisition"}
        From whose start ``min_start_time`` counts.
    sequencing : {"auto", "off"}
        Whether events may be merged into hardware sequences.
    allow_duplicates : bool
        Whether axes may be acquired again; the last image counts then.
    summary_metadata : dict, optional
        Added to the dataset's summary metadata.

    Raises
    ------
    TypeError, ValueError
        A parameter is misspelt or cannot be right.
    UnsupportedError
        A parameter cannot have its effect here; with the reason.
    """

    @suggest_parameters
    def __init__(
        self,
        directory: str | Path | None = None,
        name: str | None = None,
        image_process_fn: Callable[..., Any] | None = None,
        event_generation_hook_fn: Callable[..., Any] | None = None,
        pre_hardware_hook_fn: Callable[..., Any] | None = None,
        post_hardware_hook_fn: Callable[..., Any] | None = None,
        post_camera_hook_fn: Callable[..., Any] | None = None,
        show_display: bool = True,
        storage_monitor_callback_fn: Callable[..., Any] | None = None,
        tile_overlap: int | tuple[int, int] | None = None,
        max_multi_res_index: int | None = None,
        magellan_acq_index: int | None = None,
        magellan_explore: bool = False,
        process: bool = False,
        saving_queue_size: int = 20,
        bridge_timeout: int = check.DEFAULT_TIMEOUT_MS,
        port: int = check.DEFAULT_PORT,
        debug: bool = False,
        core_log_debug: bool = False,
        *,
        core: LocalCore | BridgedCore | None = None,
        bridge: Any = None,
        image_saved_fn: Callable[..., Any] | None = None,
        notification_callback_fn: Callable[..., Any] | None = None,
        format: Literal["ndtiff", "ome-zarr", "memory"] = "ndtiff",
        executor: Any = None,
        on_error: Literal["raise", "continue"] = "raise",
        durability: Durability = "none",
        look_ahead: int = 64,
        limits: Mapping[str, Any] | None = None,
        clock: Literal["submission", "acquisition"] = "submission",
        sequencing: Literal["auto", "off"] = "auto",
        allow_duplicates: bool = False,
        summary_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = check.read(locals())
        self._home: Home
        self._run: Run | None = None
        self._cancels = 0  # of the task that entered the body, before it did
        self._opening: asyncio.Task[None] | None = None
        self._cut_off = False
        self._task: asyncio.Task[None] | None = None
        self._callbacks: list[SavedCallback | NotificationCallback] = []
        self._told_to_end = False

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        run = getattr(self, "_run", None)
        if run is None or self._told_to_end or not (run.aborted or run.undelivered or not run.ended):
            return
        what = "".join(f"; nobody was told of {type(error).__name__}: {error}" for error in run.undelivered)
        if run.aborted:
            what += f"; it was aborted as its event loop ended or its microscope was closed: {run.saved} images were saved"
        _warn(f"unclosed {self!r}: use `async with`, or `await acquisition.aclose()`{what}", ResourceWarning, source=self)

    # ---- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an acquisition and open it; the parameters are those of the class."""
        acquisition = cls(*args, **kwargs)
        await acquisition._start()
        return acquisition

    async def __aenter__(self) -> Self:
        await self._start()
        assert self._run is not None
        task = asyncio.current_task()
        self._cancels = 0 if task is None else task.cancelling()
        self._run.enter_body()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        run = self._ready()
        self._told_to_end = True
        run.leave_body()
        if error is not None and not run.ended and run.error_behind(error) is None:
            run.abort()
        cancelled = await self._finish()
        task = asyncio.current_task()
        if run.interrupted and task is not None:
            others = task.uncancel()  # whatever came of it: the interruption was not a cancellation from outside
            if isinstance(error, asyncio.CancelledError):
                if others <= self._cancels and cancelled is None:
                    assert run.error is not None
                    run.delivered(run.error)
                    raise run.error
                return
        if error is not None:
            if (cause := run.error_behind(error)) is not None and cause is not error:
                run.tell_with(cause)
                raise_alone(cause)
            if error is run.error:
                run.delivered(error)
            elif run.error is not None:
                error.add_note(f"the acquisition had ended before: {type(run.error).__name__}: {run.error}")
            run.tell_with(error)
            return
        if cancelled is not None:
            run.tell_with(cancelled)
            raise cancelled
        run.raise_error()

    async def aclose(self) -> None:
        """Finish what was submitted and close; again and again does no harm.

        Cancelling it aborts the acquisition; the clean-up is done before the cancellation goes on.

        Raises
        ------
        Exception
            The first error that nobody was told of yet: what ended the acquisition, or one of its submissions.
        """
        if self._run is None:
            return
        self._told_to_end = True
        cancelled = await self._finish()
        if cancelled is not None:
            raise cancelled
        self._run.raise_error()

    async def await_completion(self) -> None:
        """Finish: take no more events, wait until all are done and everything is cleaned up. The same as `aclose`."""
        self._ready()
        await self.aclose()

    async def abort_for_close(self) -> None:
        """Abort and wait for the end; a core or bridge that closes, or halts, calls this.

        One that is just opening is cut off, and leaves nothing behind: with ClosedError.
        """
        if self._opening is not None and not self._opening.done():
            self._cut_off = True
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._task is not None:
            self._ready().abort()
            await self._finish()

    async def _finish(self) -> asyncio.CancelledError | None:
        """Wait for the end, whatever happens to the caller; a cancellation aborts. Returns the cancellation."""
        run, task = self._ready(), self._task
        assert task is not None
        if not task.done():
            run.check_loop()
        refuse_end(run)
        run.finish()
        cancelled: asyncio.CancelledError | None = None
        with run.finisher(), elsewhere(run) as refused:
            while not task.done():
                if (error := refused()) is not None:
                    raise error  # it ends by itself when the other one lets it
                ring = asyncio.ensure_future(run.knot_bell.wait())
                try:
                    await asyncio.wait({task, ring}, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError as cancellation:
                    cancelled = cancellation
                    run.abort()
                finally:
                    ring.cancel()
                    again = await outlast(ring)
                if again is not None:
                    cancelled = again
                    run.abort()
        return cancelled

    async def _start(self) -> None:
        if self._run is not None:
            raise RuntimeError("this Acquisition is open already, or was: make another one for another dataset")
        home = self._home = self._settings.make_home()
        run = self._run = Run(allow_duplicates=self._settings.allow_duplicates)
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        try:
            home.add(self)  # from now on: what it has opened half-way is ended with its microscope too
            self._opening = run.loop.create_task(self._open(home, run), name="aiomm: opening an acquisition")
            await self._opening
        except BaseException as error:
            if self._task is not None:  # it had just opened when this was cancelled
                await self.abort_for_close()
            self._run = None
            home.discard(self)
            if self._cut_off and isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() <= cancels):
                raise ClosedError("the microscope was closed, or halted, while this acquisition was opening") from None
            raise

    async def _open(self, home: Home, run: Run) -> None:
        supervisor, self._callbacks = await open_run(self._settings, run, home)
        self._task = run.loop.create_task(self._supervise(supervisor), name=f"aiomm: acquisition {self._settings.target.name}")

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.supervise()
        finally:
            self._home.discard(self)

    def _ready(self) -> Run:
        if self._run is None:
            raise ClosedError("this Acquisition is not open: use `async with Acquisition(...) as acq` or `await Acquisition.open(...)`")
        return self._run

    # ---- acquiring ----------------------------------------------------------------------------------------------

    @suggest_parameters
    def acquire(self, events: Any, keep_shutter_open: bool = False) -> Submission:
        """Submit events; returns at once.

        Parameters
        ----------
        events : dict, list, iterable, async iterable, or useq.MDASequence
            A list is one scope of hardware sequencing; see the documentation of events.
        keep_shutter_open : bool
            Keep the shutter open from the first event of this submission to its last, but for events that say otherwise.

        Returns
        -------
        Submission
            Await it, or iterate over its images with ``async for``.

        Raises
        ------
        AcquisitionFinished
            The acquisition has ended, or was told to.
        TypeError
            These are no events.
        UnsupportedError
            Micro-Magellan makes the events of this acquisition.
        RuntimeError
            It was opened in another event loop than the one that runs here.
        """
        run = self._ready()
        run.check_loop()
        refuse(self._home, "acquire()")
        if run.finishing or run.ended:
            reason = f": {run.error}" if run.error is not None else ""
            raise AcquisitionFinished(f"the acquisition takes no more events, it has ended or was told to finish{reason}") from run.error
        if len(run.submissions) >= SUBMISSIONS_LIMIT:
            raise QueueFull(f"{SUBMISSIONS_LIMIT} submissions are waiting already: await some, or submit a list or a generator")
        submission = Submission(run, open_source(events), keep_shutter_open=keep_shutter_open, turn=current_turn.get())
        run.submissions.append(submission)
        run.engine.lend(submission.turn)
        run.bell.ring()
        return submission

    async def plan(self, events: Any) -> Plan:
        """Say what would happen to these events, moving nothing.

        Parameters
        ----------
        events
            As for `acquire`, but nothing that can be read only once.

        Returns
        -------
        Plan
            The groups, why each ends where it does, what is out of limits, and estimates of duration and size.
        """
        from aiomm.acquire.plan import make_plan

        run = self._ready()
        run.check_loop()
        refuse(self._home, "plan()")
        source = open_source(events)
        if source.scope != "list":
            raise TypeError("plan() needs a dict, a list or a useq sequence: a generator could be read only once")
        listed = await read_list(source)
        if run.tiling is not None:
            listed = await run.tiling.preview(listed)
        wanted = await asyncio.to_thread(needs, listed)
        caps = await self._home.capabilities(wanted)
        asked = self._settings
        return await asyncio.to_thread(make_plan, listed, caps, asked.limits, sequencing=asked.sequencing, grouping=self._home.grouping)

    def mark_finished(self) -> None:
        """Take no more events; the acquisition ends when those it has are done."""
        self._ready().finish()
        self._told_to_end = True

    def abort(self) -> None:
        """Stop now: camera and stages stop, what was saved is kept, what waits gets `AcquisitionAborted`."""
        self._ready().abort()
        self._told_to_end = True

    def pause(self) -> None:
        """Stop before the next group of events, until `resume`; a hardware sequence that runs is finished first."""
        engine = self._ready().engine
        engine.paused = True
        engine.signal.set()

    def resume(self) -> None:
        """Go on after `pause`."""
        engine = self._ready().engine
        engine.paused = False
        engine.signal.set()

    # ---- looking and listening ----------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The dataset's folder; None in memory."""
        return self._ready().folder

    def get_dataset(self) -> Dataset:
        """Give the dataset on what is saved: live while the acquisition runs, complete when it has ended."""
        return self._ready().dataset

    async def get_viewer(self) -> Any:
        """Give what shows the images: Micro-Manager's NDViewer, a `JavaObject`.

        Its window stays when the acquisition has ended, until it is closed by its user or by ``await viewer.close()``. To call it
        then, give the acquisition a ``bridge=``: the connection of ``port=`` ends with the acquisition. Closing it earlier ends the
        acquisition with an `AcquisitionAborted`.

        Raises
        ------
        UnsupportedError
            Nothing shows them, with the reason.
        """
        self._ready()
        return self._home.viewer()

    def images(self, policy: Policy = "block", buffer: int = 20) -> ImageStream:
        """Every saved image from now on, as an async iterator.

        Parameters
        ----------
        policy : {"block", "latest", "drop"}
            What happens when the reader is slower than the acquisition: it waits once ``buffer`` images are unread; only
            the newest image is kept; or what comes while ``buffer`` images are unread is left out.
        buffer : int
            Images that may be unread.
        """
        run = self._ready()
        return run.audience.add_stream(ImageStream(run, policy, buffer))

    def notifications(self) -> NotificationStream:
        """Everything that happens from now on, as an async iterator of `Notification`."""
        run = self._ready()
        return run.audience.add_listener(NotificationStream(run))

    @property
    def status(self) -> Status:
        """What is going on at this moment."""
        run = self._ready()
        elapsed = (run.ended_at or time.monotonic()) - run.started_at
        counts = run.counts
        waiting = 0 if run.processing is None else len(run.processing)
        return Status(
            state=self._state(run),
            waiting_for="nothing" if run.ended else run.engine.waiting_for,
            events_known=counts["events"],
            events_done=counts["events_done"],
            images_acquired=counts["acquired"],
            images_saved=run.saved,
            skipped=counts["skipped"],
            diverted=counts["diverted"],
            failed=counts["failed"],
            waiting_for_processor=waiting,
            waiting_for_saving=max(0, counts["acquired"] - counts["diverted"] - counts["dropped"] - run.saved - waiting),
            images_per_s=run.saved / elapsed if elapsed > 0 else 0.0,
            elapsed_s=elapsed,
            last_image_s_ago=None if run.last_frame is None else time.monotonic() - run.last_frame,
            callbacks_behind=sum(callback.behind for callback in self._callbacks),
            notes=tuple(run.notes),
            error=run.error,
        )

    @staticmethod
    def _state(run: Run) -> str:
        if run.ended:
            return "failed" if run.error is not None else "aborted" if run.aborted else "finished"
        if run.stopping:
            return "stopping"
        if run.finishing:
            return "finishing"
        return "paused" if run.engine.paused else "running"

    def __repr__(self) -> str:
        target = self._settings.target
        where = "memory" if target.directory is None else str((self._run and self._run.folder) or target.directory / target.name)
        return f"<Acquisition to {where}: {'not open' if self._run is None else self._state(self._run)}>"
