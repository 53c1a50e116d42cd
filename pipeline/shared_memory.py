"""Transfer of pictures between processes in shared memory: one copy in, one copy out, none through the kernel.

The sender owns a block of anonymous memory, divided into as many slots as the receiver grants credits. A picture that
is large enough is copied into a free slot, which is named in its message. The slot is freed when the receiver confirms
the message (``Received``), so credits limit the memory just as they limit the outstanding messages. The receiver copies
the picture out before it confirms; the copy can be kept for any time.

Nothing is assumed about the receiver. The first large picture is sent through the socket together with an offer of the
block. Slots are used once the receiver has reported that it could map the block. A block has no name in any file
system: it disappears with the last process that maps it, however that ends. Without shared memory, all pictures are
sent through the socket.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from pipeline.messages import Key
from pipeline.wire import MAX_PICTURE_BYTES, Buffer, WireError, decode_struct, encode_struct

log = logging.getLogger(__name__)
LEAST_BYTES = 1 << 18
"""Smallest picture for which shared memory is used. For a smaller one, the message itself costs as much."""

_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")
_AVAILABLE = hasattr(os, "memfd_create") and all(hasattr(fcntl, seal) for seal in _SEALS)
_serials = itertools.count(1)

Size = Annotated[int, Meta(ge=1, le=1 << 40)]
Natural = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Offer(Struct, frozen=True, tag="offer", forbid_unknown_fields=True):
    """Offer of a block of shared memory, sent to the receiver along with a picture.

    Attributes:
        pid, fd: process id of the sender and its file descriptor of the block.
        block: number of the block, unique in the sending process.
        size: size of the block in bytes.
    """

    pid: Annotated[int, Meta(ge=1, lt=1 << 31)]
    fd: Annotated[int, Meta(ge=0, lt=1 << 31)]
    block: Natural
    size: Size


class Place(Struct, frozen=True, tag="place", forbid_unknown_fields=True):
    """Position of a picture in the block, sent instead of the picture: ``size`` bytes from ``offset``."""

    block: Natural
    offset: Natural
    size: Size


_decoder: msgspec.msgpack.Decoder[Offer | Place] = msgspec.msgpack.Decoder(Offer | Place)


class _Block(NamedTuple):
    """Block of shared memory of the sender."""

    number: int
    fd: int
    memory: mmap.mmap
    slot_bytes: int


class SlotPool:
    """The slots of a sender.

    Args:
        local: whether the receiver is another process of this machine; otherwise slots are never used.
        least_bytes: smaller pictures are sent through the socket.

    Attributes:
        placed: number of pictures sent through a slot.
    """

    def __init__(self, local: bool, least_bytes: int = LEAST_BYTES) -> None:
        self._block: _Block | None = None
        self._mapped = False
        self._count = 0
        self._held: dict[Key, int] = {}
        self._available, self._least_bytes = local and _AVAILABLE, least_bytes
        self.placed = 0

    def serve(self, credits: int) -> None:
        """Reset for a new receiver, or for none (0 credits): all slots are free and the block must be offered again."""
        self._held.clear()
        self._mapped = False
        if credits != self._count:
            self._drop()
            self._count = credits

    def put(self, key: Key, parts: list[Buffer]) -> list[Buffer]:
        """Return the parts of a message to send, with the picture in a slot if it is large enough and one is free."""
        if len(parts) < 3 or not self._available or (size := memoryview(parts[2]).nbytes) < self._least_bytes:
            return parts
        if not self._held and (self._block is None or size > self._block.slot_bytes):
            self._make(size)
        if (block := self._block) is None or size > block.slot_bytes:
            return parts
        if not self._mapped:
            offer = Offer(os.getpid(), block.fd, block.number, len(block.memory))
            return [*parts, encode_struct(offer)]
        slot = self._held.get(key)
        if slot is None:
            slot = min(set(range(self._count)).difference(self._held.values()), default=None)
            if slot is None:
                return parts
            self._held[key] = slot
        offset = slot * block.slot_bytes
        self.placed += 1
        block.memory[offset : offset + size] = memoryview(parts[2]).cast("B")
        return [*parts[:2], b"", encode_struct(Place(block.number, offset, size))]

    def free(self, key: Key) -> None:
        """Free the slot of a message that the receiver has confirmed; does nothing if it had none."""
        self._held.pop(key, None)

    def mapped(self, block: int) -> None:
        """Note that the receiver has mapped a block."""
        self._mapped = self._block is not None and self._block.number == block

    def _make(self, size: int) -> None:
        self._drop()
        slot_bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        whole = slot_bytes * self._count
        fd = -1
        try:
            fd = os.memfd_create("irst-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.posix_fallocate(fd, 0, whole)  # allocate now: if memory is short, the first write would kill the process
            for seal in _SEALS:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, getattr(fcntl, seal))
            memory = mmap.mmap(fd, whole)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            self._available = False
            log.warning("no shared memory of %d bytes (%s): pictures go through the socket", whole, error)
            return
        self._block, self._mapped = _Block(next(_serials), fd, memory, slot_bytes), False

    def _drop(self) -> None:
        if self._block is not None:
            self._block.memory.close()
            os.close(self._block.fd)
            self._block = None


class SlotReader:
    """Reads pictures from the slots of a sender, at the receiver.

    Args:
        local: whether the sender is another process of this run; others must not make this one open what they name.
        mapped: called with the number of an offered block after it was mapped.
    """

    def __init__(self, local: bool, mapped: Callable[[int], None]) -> None:
        self._local, self._on_mapped = local, mapped
        self._owner, self._block = 0, 0
        self._memory: mmap.mmap | None = None

    def take(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """Return the parts of a message as expected by ``wire.decode``, with the picture copied out of its slot if any.

        Raises:
            WireError: the position of the picture is invalid.
        """
        if len(parts) != 4 or not self._local:
            return parts
        part: Offer | Place = decode_struct(parts[3], _decoder)
        if isinstance(part, Offer):
            if self._map(part):
                self._on_mapped(part.block)
            return parts[:3]
        if memoryview(parts[2]).nbytes:
            raise WireError("a picture in a slot and in the message")
        if self._memory is None or part.block != self._block:
            raise WireError("a picture in a block that was not mapped")
        if part.size > MAX_PICTURE_BYTES or part.offset + part.size > len(self._memory):
            raise WireError(f"a picture of {part.size} bytes at {part.offset} of a block of {len(self._memory)}")
        return [*parts[:2], self._memory[part.offset : part.offset + part.size]]

    def close(self) -> None:
        """Unmap the memory."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _map(self, offer: Offer) -> bool:
        """Map an offered block if it can be opened and cannot shrink; return whether it is mapped."""
        if self._memory is not None and (offer.pid, offer.block) == (self._owner, self._block):
            return True
        try:
            fd = os.open(f"/proc/{offer.pid}/fd/{offer.fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                return False
            memory = mmap.mmap(fd, offer.size, prot=mmap.PROT_READ)  # fails if the block is smaller
        except (OSError, ValueError):
            return False
        finally:
            os.close(fd)
        self.close()
        self._memory, self._owner, self._block = memory, offer.pid, offer.block
        return True
