"""Names of channels, of new and of old datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.errors import DatasetFormatError

if TYPE_CHECKING:
    from aiomm.dataset.storage import Store


class ChannelNames:
    """Names of a store's channels, in the order first saved. What the files say is read once.

    Since NDTiff 3.2 a channel is its name. Before, it was a number, and its name stood in the summary metadata as ``ChNames``
    or in each image's metadata as ``Channel``.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbered: tuple[int, list[str]] = (-1, [])

    def __call__(self) -> list[str]:
        """Names of the channels."""
        index = self._store.index
        kind = index.types.get("channel")
        if kind is str:
            return index.strings("channel")
        if kind is None:
            return []
        if self._numbered[0] != len(index):
            self._numbered = (len(index), self._read())
        return list(self._numbered[1])

    def _read(self) -> list[str]:
        index = self._store.index
        listed = self._store.summary.get("ChNames")
        names = []
        column = index.column("channel")
        for value in index.values("channel"):
            if isinstance(listed, list) and 0 <= value < len(listed):
                names.append(str(listed[value]))
                continue
            row = int((column == value).argmax())
            try:
                names.append(str(self._store.metadata(row).get("Channel", value)))
            except DatasetFormatError:
                if not self._store.missing():
                    raise
                names.append(str(value))  # its file is not there; what else there is can be read
        return names
