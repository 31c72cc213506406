"""Every error that aiomm raises on purpose, in one tree.

::

    AiommError
    ├── ClosedError                  used after it was closed
    ├── UnsupportedError             a parameter or feature that cannot work here, with the reason
    ├── CoreError                    MMCore or a device refused; names the device and the call
    ├── EventError (ValueError)      an acquisition event is wrong; names the key, the value, what would be right
    │   └── LimitError               it would move a stage past a soft limit
    ├── AcquisitionError
    │   ├── AcquisitionFinished      acquire() after the end
    │   ├── AcquisitionAborted       abort() was called
    │   ├── SubmissionCancelled      submission.cancel() was called
    │   ├── HookError                a hook or processor returned something that cannot be used, or was lost
    │   ├── HardwareError            a device did not do what an event asks, after retries
    │   │   ├── FrameTimeoutError    an expected frame did not come (a missed trigger)
    │   │   └── BufferOverflowError  the camera was faster than what takes its frames
    │   └── QueueFull                a queue that never waits is at its documented limit
    ├── DatasetError
    │   ├── StorageError             writing failed: disk full, permission, device gone
    │   ├── DuplicateImageError      an image with these axes exists already
    │   ├── MissingImageError (KeyError)   no image with these axes
    │   └── DatasetFormatError       not a dataset, or a damaged one
    └── BridgeError
        ├── ServerNotFoundError      no Micro-Manager server answers there
        ├── ServerLostError (ConnectionError)   the server died or the connection broke; whether the call ran is unknown
        ├── BridgeTimeoutError (TimeoutError)   no reply in time
        ├── ProtocolError            a reply that cannot be understood
        ├── JavaException            Java threw
        ├── OverloadError (TypeError)   no Java method takes these arguments, or several do equally well
        └── JavaValueError (ValueError)   a value that cannot be carried to or from Java

And one warning: `LostTextWarning` (a UnicodeWarning), of a text from Java with ``?`` where the server may have lost a character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AcquisitionAborted",
    "AcquisitionError",
    "AcquisitionFinished",
    "AiommError",
    "BridgeError",
    "BridgeTimeoutError",
    "BufferOverflowError",
    "ClosedError",
    "CoreError",
    "DatasetError",
    "DatasetFormatError",
    "DuplicateImageError",
    "EventError",
    "FrameTimeoutError",
    "HardwareError",
    "HookError",
    "JavaException",
    "JavaValueError",
    "LimitError",
    "LostTextWarning",
    "MissingImageError",
    "OverloadError",
    "ProtocolError",
    "QueueFull",
    "ServerLostError",
    "ServerNotFoundError",
    "StorageError",
    "SubmissionCancelled",
    "UnsupportedError",
]


class AiommError(Exception):
    """Base of every error that aiomm raises on purpose."""


class ClosedError(AiommError):
    """The object was used after it was closed."""


class UnsupportedError(AiommError):
    """A parameter or feature that cannot work here; the message says why."""


class CoreError(AiommError):
    """MMCore or one of its devices refused a call.

    Attributes
    ----------
    method : str
        The MMCore method, in MMCore's own spelling (``setXYPosition``); empty if no one method failed.
    arguments : tuple
        What it was called with.
    device : str or None
        Label of the device that refused, where the call or MMCore's text names one.
    text : str
        MMCore's own message.
    """

    def __init__(self, text: str, *, method: str = "", arguments: tuple[object, ...] = (), device: str | None = None) -> None:
        self.text = text
        self.method = method
        self.arguments = arguments
        self.device = device
        call = f"{method}({', '.join(map(repr, arguments))}): " if method else ""
        where = f"device {device!r}: " if device and repr(device) not in call and f'"{device}"' not in text else ""
        super().__init__(f"{call}{where}{text}")


class EventError(AiommError, ValueError):
    """An acquisition event is wrong.

    Attributes
    ----------
    key : str or None
        The key at fault.
    value : object
        Its value.
    """

    def __init__(self, message: str, *, key: str | None = None, value: object = None) -> None:
        self.key = key
        self.value = value
        super().__init__(message)


class LimitError(EventError):
    """An event would move a stage past a soft limit of the acquisition (``limits=``)."""


class AcquisitionError(AiommError):
    """Base of the errors that end an acquisition or one of its submissions."""


class AcquisitionFinished(AcquisitionError):
    """The acquisition has ended and takes no more events."""


class AcquisitionAborted(AcquisitionError):
    """``abort()`` ended the acquisition before these events were acquired."""


class SubmissionCancelled(AcquisitionError):
    """``submission.cancel()`` ended this submission."""


class HookError(AcquisitionError):
    """A hook or processor returned something that cannot be used, or its worker was lost."""


class HardwareError(AcquisitionError):
    """A device did not do what an event asks; the cause is the device's own error."""


class FrameTimeoutError(HardwareError):
    """A frame that the camera should have delivered did not come in time (a missed trigger, a stalled camera)."""


class BufferOverflowError(HardwareError):
    """The camera filled MMCore's circular buffer; frames after that moment were not taken."""


class QueueFull(AcquisitionError):
    """A queue whose ``put`` never waits is at its documented limit."""


class DatasetError(AiommError):
    """Base of the errors of datasets."""


class StorageError(DatasetError):
    """Images could not be written; the cause is the operating system's error."""


class DuplicateImageError(DatasetError):
    """An image with these axes exists already."""


class MissingImageError(DatasetError, KeyError):
    """There is no image with these axes."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class DatasetFormatError(DatasetError):
    """Not a dataset that aiomm can read, or one that is damaged; the message names the file and the place."""


class BridgeError(AiommError):
    """Base of the errors of a bridge to a running Micro-Manager."""


class ServerNotFoundError(BridgeError):
    """Nothing answers there in time, or what answers is no Micro-Manager server; the message says what to check."""


class ServerLostError(BridgeError, ConnectionError):
    """The server died or its connection broke; whether a call that was waiting has run is not known.

    Attributes
    ----------
    lost_images : list of dict
        Of an acquisition that it has ended: the axes of the images that were under way and are not saved.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.lost_images: list[dict[str, int | str]] = []


class BridgeTimeoutError(BridgeError, TimeoutError):
    """No reply within the bridge's ``timeout`` or ``call_timeout``; the call may still run."""


class ProtocolError(BridgeError):
    """A reply that cannot be understood; what the call did is not known."""


class JavaException(BridgeError):
    """Java threw an exception, in the method that was called or in the server.

    Attributes
    ----------
    java_class : str
        Full name of the exception's class (``java.lang.IllegalStateException``); ``java.lang.Exception`` where its text does not tell it.
    java_message : str
        Its message; empty if it has none.
    java_stack : str
        Its stack trace, one frame per line; empty if the server sent none.
    """

    def __init__(self, java_class: str, java_message: str = "", java_stack: str = "") -> None:
        self.java_class = java_class
        self.java_message = java_message
        self.java_stack = java_stack
        super().__init__(java_class, java_message, java_stack)

    def __str__(self) -> str:
        return f"{self.java_class}: {self.java_message}" if self.java_message else self.java_class


class OverloadError(BridgeError, TypeError):
    """No Java method takes these arguments, or more than one takes them equally well; nothing was called.

    Attributes
    ----------
    candidates : list of str
        The public methods of that name, in Java notation: ``"setXYPosition(String, double, double)"``.
    """

    def __init__(self, message: str, *, candidates: Sequence[str] = ()) -> None:
        self.candidates: list[str] = list(candidates)
        super().__init__(message)


class JavaValueError(BridgeError, ValueError):
    """A value that the protocol or the server cannot carry, such as NaN as a single number."""


class LostTextWarning(UnicodeWarning):
    """A text from Java has ``?``, for which there may have been a character that Micro-Manager's server cannot send.

    The call ran, and its result is what arrived. ``warnings.simplefilter("error", aiomm.errors.LostTextWarning)`` makes it an error.

    Attributes
    ----------
    text : str
        The text as it arrived.
    """

    def __init__(self, message: str, *, text: str) -> None:
        self.text = text
        super().__init__(message)
