"""A running acquisition as the loop sees it: accounts, who waits for what, and the first error.

The engine, the writer and worker threads post messages (`Mailbox`); everything here but the methods marked
*any thread* happens on the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aiomm.acquire.audience import Audience
from aiomm.acquire.claims import Claims
from aiomm.acquire.losses import check_room, not_asked_for, only_tells_of, tell_lost
from aiomm.acquire.mailbox import Bell, Mailbox
from aiomm.acquire.sources import open_source
from aiomm.errors import AcquisitionAborted, AcquisitionFinished, QueueFull, SubmissionCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from aiomm.acquire.calls import Call, Elsewhere
    from aiomm.acquire.conductor import Conductor
    from aiomm.acquire.events import AcquisitionEvent
    from aiomm.acquire.orders import Done, HookCall, Window
    from aiomm.acquire.processing import Processing
    from aiomm.acquire.sources import Source
    from aiomm.acquire.submission import Submission
    from aiomm.acquire.tiling import Tiling
    from aiomm.dataset import Dataset
    from aiomm.dataset.storage import Axes, Frame, Writer

FEEDBACK_LIMIT = 1000
CANCEL_GRACE_S = 0.4  # what the last frames of a cancelled submission get to be processed and saved


current_submission: ContextVar[Submission | None] = ContextVar("aiomm_current_submission", default=None)
"""The submission in whose hook or processor the current task or worker thread runs."""


class Run:
    """What the parts of one acquisition share.

    Parameters
    ----------
    allow_duplicates
        Whether axes may be acquired again; the last image counts.
    """

    def __init__(self, *, allow_duplicates: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.mailbox = Mailbox(self.loop, self._handle, self._after)
        self.engine: Conductor
        self.writer: Writer
        self.dataset: Dataset
        self.folder: Path | None = None
        self.processing: Processing | None = None
        self.tiling: Tiling | None = None
        self.audience = Audience(self)
        self.bell = Bell()  # rings whenever something changed
        self.knot_bell = Bell()  # rings when another acquisition holds this one up
        self.hook_bell = Bell()
        self.frame_bell = Bell()
        self.submissions: deque[Submission] = deque()  # in order, not fed yet
        self.active: dict[Submission, None] = {}
        self.feedback: deque[tuple[Submission, Source]] = deque()
        self.handing_over = False  # the put that is served is with the engine already, and still counted as on its way
        self.hook_calls: deque[HookCall] = deque()
        self.hook_submission: Submission | None = None
        self.hook_call: HookCall | None = None  # the one under way, and the task in which it is
        self.hook_task: asyncio.Task[Any] | None = None
        self.owners: deque[Submission | None] | None = None  # of the saved images that image_saved_fn, which has a queue, was not told of
        self.finishing = False
        self.enough = False  # a hook has said so: nothing more is pulled from iterators
        self.aborted = False
        self.stopping = False  # no stage goes on: aborted or failed
        self.ended = False
        self.error: BaseException | None = None
        self.lost: dict[Any, Axes] = {}  # images, each once, whoever tells of it
        self.left: list[Axes] = []  # for which there was no room, as it ended; all others that are lost come before them
        self.notes: deque[str] = deque(maxlen=100)
        self.last_frame: float | None = None
        self.saved = 0  # rows, in the order saved
        self.counts = dict.fromkeys(("events", "events_done", "acquired", "skipped", "diverted", "dropped", "failed"), 0)
        self.started_at = time.monotonic()
        self.ended_at: float | None = None
        self.untold: list[str] = []  # what is to be said of its end: what callbacks were not told, what failed besides
        self._undelivered: list[BaseException] = []
        self.allow_duplicates = allow_duplicates
        self.claims = Claims(allow_duplicates=allow_duplicates)
        self._lock = threading.Lock()
        self.calls: set[Call] = set()  # of its functions, under way
        self.waits: dict[Call, Elsewhere] = {}  # those that wait for another acquisition
        self.finishers: set[asyncio.Task[Any]] = set()  # tasks that wait for the end
        self._body: asyncio.Task[Any] | None = None
        self._body_waits = 0
        self.interrupted = False

    # ---- any thread ---------------------------------------------------------------------------------------------

    def post(self, message: Any, *, wake: bool = True) -> None:
        """Leave a message for the loop. Any thread."""
        self.mailbox.post(message, wake=wake)

    def try_put(self, frame: Frame) -> bool:
        """Take a frame from the hardware thread, if there is room."""
        if self.audience.full:
            return False
        if self.processing is not None:
            return self.processing.try_put(frame)
        return self.writer.try_put(frame)

    def run_hook(self, call: HookCall) -> None:
        """Have the loop run a hook. Any thread."""
        self.mailbox.post(("hook", call))

    def place(self, events: Sequence[AcquisitionEvent]) -> Sequence[AcquisitionEvent]:
        """Say where the tiles are that a hook has returned. Any thread."""
        return events if self.tiling is None else self.tiling.place(events)

    def claim(self, events: Iterable[AcquisitionEvent]) -> None:
        """Reserve the axes of events. Any thread."""
        self.claims.claim(events, types=self.processing is None)  # a processor makes the axes that are saved

    def unclaim(self, events: Iterable[AcquisitionEvent]) -> None:
        """Give the axes of events back: no image came of them. Any thread."""
        self.claims.release(events)

    def waits_elsewhere(self) -> str:
        """Say which function waits for another acquisition, and what to do; empty if none does. Any thread."""
        for call, other in list(self.waits.items()):
            return f"{call.label} waits for {other.run.title} meanwhile, which waits for this sequence to end: do not await it there"
        return ""

    def room_for(self, images: int, image_bytes: int) -> None:
        """Check that so many images fit on the disk. Any thread."""
        if self.folder is not None:
            check_room(self.folder, images, image_bytes)

    def put(self, events: Any) -> None:
        """Take events from a hook or processor, for the submission that runs it. Any thread; never waits."""
        if self.ended or self.stopping:
            raise AcquisitionFinished("the acquisition has ended and takes no more events")
        if events is None:
            self.loop.call_soon_threadsafe(self.stop_sources)
            return
        source = open_source(events)
        submission = current_submission.get() or self.hook_submission
        if submission is None:
            raise AcquisitionFinished("queue.put() was called outside a hook or image processor of a running submission")
        with self._lock:
            waiting = submission.feedback_pending + len(self.engine.feedback) - self.handing_over  # on their way, and with the engine
            if waiting >= FEEDBACK_LIMIT:
                raise QueueFull(f"{FEEDBACK_LIMIT} put()s are waiting to be acquired already: put fewer, or lists of events")
            submission.feedback_pending += 1
        self.loop.call_soon_threadsafe(self._accept, submission, source)

    def taken(self, submission: Submission) -> None:
        """One put of a submission's hooks is with the engine now, or was refused."""
        with self._lock:
            submission.feedback_pending -= 1
            self.handing_over = False
        self.engine.signal.set()
        self._look(submission)

    def room(self) -> None:
        """There is room for frames again. Any thread."""
        self.engine.tell_room()

    def on_saved(self, frames: list[Frame]) -> None:
        """Hear from the writer. Any thread."""
        self.mailbox.post(("saved", frames))

    def on_failed(self, error: BaseException, frames: list[Frame]) -> None:
        """Hear from the writer that frames are lost. Any thread."""
        self.mailbox.post(("lost", error, frames))

    # ---- messages -----------------------------------------------------------------------------------------------

    def _handle(self, message: Any) -> None:
        try:
            self._take(message)
        except Exception as error:  # whatever it is: who waits for what the message tells would wait for ever
            self.fail(error)

    def _take(self, message: Any) -> None:
        match message:
            case ("saved", frames):
                self._saved(frames)
            case ("group", window, done):
                self._group(window, done)
            case ("window", window, error):
                window.submission.windows_open -= 1
                window.ended = True
                if error is not None:
                    self.refuse(window.submission, error)
                    self._count_refused(window)
                self._look(window.submission)
            case ("hook", call):
                self.hook_calls.append(call)
                self.hook_bell.ring()
            case ("lost", error, frames):
                self.counts["failed"] += len(frames)
                self.lose(frame.axes for frame in frames)
                if self.aborted:  # the writer was told to give up
                    self.notes.append(f"{len(frames)} images were not saved: {error}")
                else:
                    self.fail(error)
            case ("left", frames):
                self.left += [frame.axes for frame in frames]
            case ("note", milestone, payload):
                self.note(milestone, payload)
            case ("frame",) | ("room",):
                self.frame_bell.ring()

    def _after(self) -> None:
        self.bell.ring()

    def lose(self, images: Iterable[Axes]) -> None:
        """Images with these axes were under way, and will not be saved: the acquisition ends."""
        self.lost.update((frozenset(axes.items()), dict(axes)) for axes in images)

    def tell_lost(self) -> None:
        """Have the error that has ended it say which images were lost."""
        if self.error is not None:
            tell_lost(self.error, list(self.lost.values()), self.saved)

    def _saved(self, frames: list[Frame]) -> None:
        touched: dict[Submission, None] = {}
        for frame in frames:
            if frame.token is None:
                self.fail(not_asked_for(frame.axes))
                if self.owners is not None:
                    self.owners.append(None)
                continue
            submission, _, moment = frame.token
            submission.rows.append(frame.row)
            if self.owners is not None:
                submission.untold += 1
                self.owners.append(submission)
            self.last_frame = moment
            touched[submission] = None
        self.audience.saved(frames)
        self.saved += len(frames)
        for submission in touched:
            submission.bell.ring()
            self._look(submission)

    def _group(self, window: Window, done: Done) -> None:
        submission = window.submission
        self.count_events(submission, done.added)
        window.left -= done.events - done.added
        submission.frames_out += done.frames
        submission.acquired += done.frames
        submission.skipped += done.skipped
        submission.failed += done.failed
        self.counts["acquired"] += done.frames
        self.counts["skipped"] += done.skipped
        self.counts["failed"] += done.failed
        self.counts["events_done"] += done.events
        for error in done.errors:
            self.notes.append(str(error))
        self._look(submission)

    def _count_refused(self, window: Window) -> None:
        """Count what an error of its submission kept a window from doing; what was cancelled on request is not done."""
        if not isinstance(window.submission.error, SubmissionCancelled):
            window.submission.failed += window.left
            self.counts["failed"] += window.left
            self.counts["events_done"] += window.left

    def told(self, submission: Submission) -> None:
        """``image_saved_fn`` was told of one of its images, and has put what it wanted to put."""
        submission.untold -= 1
        self._look(submission)

    def note(self, milestone: str, payload: Any) -> None:
        """Tell who listens what has happened."""
        self.audience.note(milestone, payload)

    def _accept(self, submission: Submission, source: Source) -> None:
        self.feedback.append((submission, source))
        self.bell.ring()

    # ---- accounts -----------------------------------------------------------------------------------------------

    def count_events(self, submission: Submission, events: int) -> None:
        """So many events more are known."""
        submission.events += events
        self.counts["events"] += events

    def diverted(self, submission: Submission, event: AcquisitionEvent, images: int) -> None:
        """A processor made ``images`` images of one frame."""
        if images == 1:  # as was expected
            return
        submission.frames_out += images - 1
        if not images:
            submission.diverted += 1
            self.counts["diverted"] += 1
            self.unclaim([event])
            self.note("image_diverted", event.axes)
        self._look(submission)
        self.bell.ring()

    def dropped(self, event: AcquisitionEvent) -> None:
        """The frame of an event was given up before it was processed: its submission is over."""
        self.counts["dropped"] += 1
        self.unclaim([event])

    def refuse(self, submission: Submission, error: BaseException) -> None:
        """End a submission with an error of its own; the acquisition goes on."""
        if submission.error is None:
            submission.error = error
            if not isinstance(error, SubmissionCancelled):  # that one was asked for
                self._undelivered.append(error)
        submission.cancelling = True
        self.engine.signal.set()

    def _look(self, submission: Submission) -> None:
        if submission.look():
            self._end(submission)
        elif submission.cancelling and submission.fed and not submission.late and not self.stopping:
            submission.late = True
            self.loop.call_later(CANCEL_GRACE_S, self._give_up, submission)

    def _give_up(self, submission: Submission) -> None:
        """A cancelled submission whose last frames are still processed or saved ends without them."""
        if not submission.over and not self.stopping:
            submission.end(SubmissionCancelled(f"submission.cancel() was called: {len(submission.rows)} images were saved before"))
            if self.processing is not None:
                self.processing.drop(submission)
            self._end(submission)

    def cancel(self, submission: Submission) -> None:
        """Acquire no more of a submission's events; what its hook is doing is cancelled too."""
        submission.cancelling = True
        if submission in self.submissions:
            self.submissions.remove(submission)
            submission.end(SubmissionCancelled("submission.cancel() was called before its first event"))
            self._end(submission)
        call = self.hook_call
        if call is not None and call.submission is submission and not call.dropped and self.hook_task is not None:
            call.dropped = True
            self.hook_task.cancel()
        self.look_again()

    def look_again(self) -> None:
        """A submission was cancelled or fed to its end."""
        for submission in list(self.active):
            self._look(submission)
        self.engine.look()
        self.bell.ring()

    def _end(self, submission: Submission) -> None:
        self.active.pop(submission, None)
        submission.bell.ring()
        self.bell.ring()

    def held_up(self) -> None:
        """Another acquisition holds this one up: who waits here may be whom the other waits for."""
        self.knot_bell.ring()
        for submission in self.active:
            submission.bell.ring()

    @property
    def title(self) -> str:
        """Say which acquisition it is."""
        return f"the acquisition {self.folder.name!r}" if self.folder is not None else "an acquisition in memory"

    # ---- states -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.active or self.submissions or self.feedback)

    def finish(self) -> None:
        """Take no more submissions; end when those there are are done."""
        self.finishing = True
        self.bell.ring()

    def stop_sources(self) -> None:
        """A hook has put None: pull no more events from iterators, and finish."""
        self.enough = True
        self.finish()

    def abort(self) -> None:
        """End now."""
        if not self.ended and not self.aborted:
            self.aborted = True
            self.note("aborted", None)
            self._stop()

    def fail(self, error: BaseException) -> None:
        """End now, with an error; the first one counts, others after it are noted with it."""
        if self.error is None:
            self.error = error
            self._undelivered.insert(0, error)
            self.note("error", error)
        elif (type(error), str(error)) != (type(self.error), str(self.error)) and hasattr(self.error, "add_note"):
            self.error.add_note(f"then also: {type(error).__name__}: {error}")
        self._stop()

    def also(self, error: BaseException, what: str) -> None:
        """Something else has failed as it ended: a note on what has ended it, or the error itself if nothing has."""
        self.untold.append(f"{what}: {type(error).__name__}: {error}")
        if self.error is None:
            self._undelivered.append(error)

    def _stop(self) -> None:
        self.finishing = self.stopping = True
        if hasattr(self, "engine"):  # while a running Micro-Manager is connected there is none yet
            self.engine.abort()
        self.bell.ring()
        self.frame_bell.ring()

    def end(self) -> None:
        """Everything has ended: give whoever waits its answer."""
        self.ended = True
        self.ended_at = time.monotonic()
        reason = self.error or AcquisitionAborted(f"the acquisition was aborted: {self.saved} images were saved before")
        for missed in self.untold:
            reason.add_note(missed)
            self.notes.append(missed)
        for submission in [*self.active, *self.submissions]:
            submission.end(reason)
            submission.bell.ring()
        self.active.clear()
        self.submissions.clear()
        self.bell.ring()
        body = self._body
        if self.error is not None and body is not None and not body.done() and not self._body_waits and self.error in self._undelivered:
            self.interrupted = True
            body.cancel(f"the acquisition has ended: {self.error}")

    @property
    def undelivered(self) -> Sequence[BaseException]:
        """Errors that nobody has seen yet."""
        return self._undelivered

    def error_behind(self, raised: BaseException) -> BaseException | None:
        """Give what has ended the acquisition, where nobody has seen it yet and ``raised`` says no more than that it has ended."""
        cause = self.error
        if cause is None or all(error is not cause for error in self._undelivered) or not only_tells_of(raised, cause):
            return None
        return cause

    def delivered(self, error: BaseException) -> None:
        """An error has been raised where the user can see it."""
        self._undelivered = [other for other in self._undelivered if other is not error]

    def tell_with(self, raised: BaseException) -> None:
        """Another error is raised, in place of those that nobody has seen yet: it says what they are."""
        for error in self._undelivered:
            if error is not raised and error is not self.error:
                raised.add_note(f"nobody was told of: {type(error).__name__}: {error}")
        self._undelivered.clear()

    def raise_error(self) -> None:
        """Raise the first error that nobody has seen yet."""
        if self._undelivered:
            error = self._undelivered[0]
            self._undelivered.clear()
            raise error

    # ---- waiting ------------------------------------------------------------------------------------------------

    def enter_body(self) -> None:
        """The current task has entered ``async with``: an error may interrupt it."""
        self._body = asyncio.current_task()

    def leave_body(self) -> None:
        """It has left, by itself."""
        self._body = None

    @contextmanager
    def finisher(self) -> Iterator[None]:
        """The current task waits for the end, and reads no stream any more."""
        task = asyncio.current_task()
        assert task is not None
        self.finishers.add(task)
        self.room()
        try:
            yield
        finally:
            self.finishers.discard(task)

    def check_loop(self) -> None:
        """Raise in another loop than the acquisition's own, where nothing would wake whoever waits. A thread without a loop is none."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return
        if here is not self.loop:
            raise RuntimeError(
                "this Acquisition belongs to another event loop than the one that runs here: use it in the loop in which it was opened, "
                "to which asyncio.run_coroutine_threadsafe() leads from another thread"
            )

    async def wait_until(self, ready: Callable[[], bool], bell: Bell | None = None) -> None:
        """Wait until ``ready()``; what makes it true rings the bell."""
        if not self.ended:
            self.check_loop()
        mine = self._body is not None and asyncio.current_task() is self._body
        self._body_waits += mine
        try:
            await (bell or self.bell).until(ready)
        finally:
            self._body_waits -= mine
