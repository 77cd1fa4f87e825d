"""The event files that TensorBoard reads: a record a step, complete on disk when it is written.

Written here, in the few lines that figures need: the writers that there are bring a thread and several packages along,
and wait for ever where that thread died of a full disk. Format: a record is its length (uint64), a checksum of that,
the bytes and their checksum, the bytes a protocol buffer `Event` (tensorboard/compat/proto/event.proto).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_VERSION = b"brain.Event:2"
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_table_entry(byte) for byte in range(256)]


def checksum(data: bytes) -> int:
    """CRC-32C (RFC 3720), 32 bits."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def build_record(data: bytes) -> bytes:
    """As TensorFlow's TFRecord: checksums are turned by 15 bits and moved, so that one of a checksum is no checksum."""

    def mask(crc: int) -> int:
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", mask(checksum(length))), data, struct.pack("<I", mask(checksum(data)))])


def build_event(seconds: float, step: int, values: Mapping[str, float]) -> bytes:
    """An Event with a scalar each of `values`; `seconds` since the epoch."""
    scalars = [
        _field(1, _field(1, name.encode()) + b"\x15" + struct.pack("<f", value)) for name, value in values.items()
    ]
    return _moment(seconds, step) + _field(5, b"".join(scalars))


class EventFile:
    """One attempt of a run. `after`: the step that it goes on from; TensorBoard forgets what another attempt told of
    the steps behind it. Raises OSError where the disk does not take it."""

    def __init__(self, folder: Path, after: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self._file = (folder / f"events.out.tfevents.{int(now):010d}.m3po.{os.getpid()}").open("ab", buffering=0)
        self._write(struct.pack("<Bd", 0x09, now) + _field(3, _VERSION))
        if after:
            self._write(_moment(now, after + 1) + _field(7, b"\x08\x01"))  # SessionLog: START

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._write(build_event(time.time(), step, values))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: bytes) -> None:
        self._file.write(build_record(event))


def _moment(seconds: float, step: int) -> bytes:
    return struct.pack("<Bd", 0x09, seconds) + b"\x10" + _varint(step)


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes, text or another message."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
