"""Looking at images: a contact sheet of a dataset."""

from __future__ import annotations

from aiomm.viewer.contact_sheet import draw_contact_sheet, save_contact_sheet

__all__ = ["draw_contact_sheet", "save_contact_sheet"]
