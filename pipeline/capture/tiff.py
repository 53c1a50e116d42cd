"""Count the pages of a TIFF file from its page directories, because OpenCV skips missing pages silently."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_Order = Literal["little", "big"]


def count_pages(path: Path) -> tuple[int, bool]:
    """Count pages by following the chain of page directories (TIFF 6.0, section 2; BigTIFF).

    Returns:
        Number of pages found, and whether the chain ends properly; (0, True) if the file is not a TIFF.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order: _Order = "little" if head[:2] == b"II" else "big"
        version = int.from_bytes(head[2:4], order)
        if head[:2] not in (b"II", b"MM") or version not in (42, 43):
            return 0, True
        # Sizes in bytes of the entry count, of one entry, and of an offset.
        counts, entry, offsets = (8, 20, 8) if version == 43 else (2, 12, 4)
        at = int.from_bytes(head[8:16] if version == 43 else head[4:8], order)
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            if at >= size:
                return len(seen) - 1, False
            file.seek(at)
            entries = int.from_bytes(file.read(counts), order)
            link = at + counts + entries * entry
            if link + offsets > size:
                return len(seen) - 1, False
            file.seek(link)
            at = int.from_bytes(file.read(offsets), order)
    return len(seen), at == 0
