"""Pictures from one process to another by shared memory: one copy in, one copy out, none through the kernel.

The sender owns a block of anonymous memory, cut into as many slots as the receiver grants credits. A picture that is
large enough to be worth it is copied into a free slot, and its message says which; the receiver's word that it has the
message (``Got``) frees the slot, so credits bound the memory as they bound what is under way. The receiver copies the
picture out before it says so: from then on it is like any other, and may be kept as long as anybody likes.

Nothing is taken on trust. The first large picture travels through the socket, with an offer of the block; only a
receiver that could map it says so, and slots are used from then on. A block has no name in any file system: it is gone
with the last process that maps it, however that one ends. Where there is none to be had, pictures go on through the
socket.
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
"""Of a picture that gains by it; a smaller one costs no more than its message."""

_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")
_AVAILABLE = hasattr(os, "memfd_create") and all(hasattr(fcntl, seal) for seal in _SEALS)
_serials = itertools.count(1)

Size = Annotated[int, Meta(ge=1, le=1 << 40)]
Natural = Annotated[int, Meta(ge=0, lt=1 << 62)]


class Offer(Struct, frozen=True, tag="offer", forbid_unknown_fields=True):
    """Sender to receiver, beside a picture: this is my block, if you can map it.

    Attributes:
        pid, fd: where the sender has it open.
        block: number of the block among all of this process.
        size: of the block in bytes.
    """

    pid: Annotated[int, Meta(ge=1, lt=1 << 31)]
    fd: Annotated[int, Meta(ge=0, lt=1 << 31)]
    block: Natural
    size: Size


class Place(Struct, frozen=True, tag="place", forbid_unknown_fields=True):
    """Sender to receiver, in the place of a picture: it lies in the block, ``size`` bytes from ``offset`` on."""

    block: Natural
    offset: Natural
    size: Size


_decoder: msgspec.msgpack.Decoder[Offer | Place] = msgspec.msgpack.Decoder(Offer | Place)


class _Block(NamedTuple):
    """Shared memory of the sender."""

    number: int
    fd: int
    memory: mmap.mmap
    slot_bytes: int


class SlotPool:
    """The sender's slots.

    Args:
        local: the receiver is another process of this machine; if not, nothing is ever put into a slot.
        least_bytes: smaller pictures travel through the socket.

    Attributes:
        placed: pictures that went through a slot.
    """

    def __init__(self, local: bool, least_bytes: int = LEAST_BYTES) -> None:
        self._block: _Block | None = None
        self._mapped = False
        self._count = 0
        self._held: dict[Key, int] = {}
        self._available, self._least_bytes = local and _AVAILABLE, least_bytes
        self.placed = 0

    def serve(self, credits: int) -> None:
        """Another receiver, or none (0): all slots are free, and the block has to be offered anew."""
        self._held.clear()
        self._mapped = False
        if credits != self._count:
            self._drop()
            self._count = credits

    def put(self, key: Key, parts: list[Buffer]) -> list[Buffer]:
        """The parts of a message as they are to be sent: the picture in a slot if that is worth it and can be."""
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
        """The receiver has this message; nothing happens if it held no slot."""
        self._held.pop(key, None)

    def mapped(self, block: int) -> None:
        """The receiver has mapped a block."""
        self._mapped = self._block is not None and self._block.number == block

    def _make(self, size: int) -> None:
        self._drop()
        slot_bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        whole = slot_bytes * self._count
        fd = -1
        try:
            fd = os.memfd_create("irst-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.posix_fallocate(fd, 0, whole)  # now, or a full machine would kill the process at the first write
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


class Window:
    """The receiver's view of the sender's slots.

    Args:
        mapped: called with the number of a block that was offered and is mapped now.
    """

    def __init__(self, mapped: Callable[[int], None]) -> None:
        self._tell_mapped = mapped
        self._owner, self._block = 0, 0
        self._memory: mmap.mmap | None = None

    def take(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """The parts of a message as ``wire.decode`` wants them: the picture copied out of its slot if it lies in one.

        Raises:
            WireError: what is said of the slots makes no sense.
        """
        if len(parts) != 4:
            return parts
        said: Offer | Place = decode_struct(parts[3], _decoder)
        if isinstance(said, Offer):
            if self._map(said):
                self._tell_mapped(said.block)
            return parts[:3]
        if memoryview(parts[2]).nbytes:
            raise WireError("a picture in a slot and in the message")
        if self._memory is None or said.block != self._block:
            raise WireError("a picture in a block that was not mapped")
        if said.size > MAX_PICTURE_BYTES or said.offset + said.size > len(self._memory):
            raise WireError(f"a picture of {said.size} bytes at {said.offset} of a block of {len(self._memory)}")
        return [*parts[:2], self._memory[said.offset : said.offset + said.size]]

    def close(self) -> None:
        """Let go of the memory."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _map(self, offer: Offer) -> bool:
        """Map what is offered, if it can be and cannot shrink; else all stays as it is."""
        if self._memory is not None and (offer.pid, offer.block) == (self._owner, self._block):
            return True
        try:
            fd = os.open(f"/proc/{offer.pid}/fd/{offer.fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                return False
            memory = mmap.mmap(fd, offer.size, prot=mmap.PROT_READ)  # refuses more than there is
        except (OSError, ValueError):
            return False
        finally:
            os.close(fd)
        self.close()
        self._memory, self._owner, self._block = memory, offer.pid, offer.block
        return True
