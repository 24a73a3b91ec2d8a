"""Files that anybody may hand in: unpacked, decoded and parsed, or refused with the place and the remedy."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import InputError, near

LARGEST = 2**28  # bytes of one text, line or archive member, unpacked: what is larger is taken for a bomb
LARGEST_WINDOW = 2**28  # bytes that unpacking may look back over: zstd --long=28
# What the libraries raise for packed bytes that are not whole; gzip and bz2 raise an OSError without a number.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError)
CR_ALONE = r"its lines end in CR alone, as on old Macs; convert it first, for example: tr '\r' '\n' < FILE > NEW"
_RATIO = 1_000  # unpacked bytes to a packed one, above LARGEST: text makes three to thirty


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive. It is read once, before the archive goes on to its next one."""

    archive: Path
    path: str
    stream: BinaryIO

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix

    def __str__(self) -> str:
        return f"{self.archive}: {self.path}"


File = Path | Member


class _Unpacked(io.RawIOBase):
    """A packed file as a stream, in bounded pieces, that notices when its last frame has no end.

    new: makes what unpacks one frame. most: bytes that it gives at once, where it can be told.
    """

    def __init__(self, handle: BinaryIO, place: File, new: Callable[[], Any], most: tuple[int, ...] = ()) -> None:
        self._handle, self._place, self._new, self._most = handle, place, new, most
        self._frame = new()
        self._fresh = True
        self._ready = b""
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = b""
            if self._frame.eof:
                chunk = self._frame.unused_data
                self._frame, self._fresh = self._new(), True
            if not chunk and getattr(self._frame, "needs_input", True):
                chunk = self._handle.read(1 << 12)  # a zstd bomb makes 32,000 bytes of each
                if not chunk:
                    if not self._fresh:
                        raise EOFError("its last frame has no end")
                    return 0
            self._fresh = False
            self._ready = self._frame.decompress(chunk, *self._most)
            self._unpacked += len(self._ready)
            if self._unpacked > max(LARGEST, _RATIO * self._handle.tell()):
                raise InputError(
                    f"{self._place}: unpacks to {_RATIO:,} times its size, and to more than {LARGEST:,} bytes: "
                    "a bomb, and no corpus"
                )
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


def open_bytes(file: File) -> BinaryIO:
    """The unpacked bytes of a plain, .gz, .zst, .xz or .bz2 file."""
    if isinstance(file, Path) and not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    packing = file.suffix.lower().removeprefix(".")
    if isinstance(file, Member):
        return unpacked(file.stream, file, packing)
    # gzip closes only files that it opened itself.
    return cast(BinaryIO, gzip.open(file, "rb")) if packing == "gz" else unpacked(file.open("rb"), file, packing)


def unpacked(handle: BinaryIO, place: File, packing: str) -> BinaryIO:
    """The bytes in a stream that is packed as gz, zst, xz or bz2; any other stream as it is."""
    match packing:
        case "gz" | "tgz":
            return cast(BinaryIO, gzip.GzipFile(fileobj=handle))
        case "zst":
            import zstandard

            frames = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj
            return io.BufferedReader(_Unpacked(handle, place, frames), 1 << 17)
        case "xz":
            new = partial(lzma.LZMADecompressor, memlimit=2 * LARGEST_WINDOW)
            return io.BufferedReader(_Unpacked(handle, place, new, (1 << 20,)), 1 << 17)
        case "bz2":
            return io.BufferedReader(_Unpacked(handle, place, bz2.BZ2Decompressor, (1 << 20,)), 1 << 17)
        case _:
            return handle


def decode(raw: bytes, file: str | File, before: int = 0, line: int | None = None) -> str:
    """UTF-8, strictly, and without NULs; the error names the byte offset in the unpacked file (`before` bytes
    precede), and how to convert what it is instead."""
    where = f"line {line}, byte" if line else "byte"
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"{where} {before + error.start} (0x{raw[error.start]:02x})"
        raise InputError(f"{file}: not UTF-8 at {place}; {_conversion(raw, file)}") from error
    if "\0" in text:
        raise InputError(f"{file}: a NUL at {where} {before + raw.index(0)}, so no text; {_conversion(raw, file)}")
    return text


def _conversion(raw: bytes, file: str | File) -> str:
    """What to do with text that is not UTF-8."""
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if marked or raw.count(0) > len(raw) // 4:
        even = raw[0::2].count(0)  # where the high byte comes first
        name = "UTF-16" if marked else "UTF-16BE" if even > raw.count(0) // 2 else "UTF-16LE"
        return f"it is UTF-16: save it as UTF-8, or for example: iconv -f {name} -t UTF-8"
    if 0 in raw:
        return "the file is damaged, or not a text: write it again"
    if ".csv" in str(file).lower():
        return "in Excel save it as 'CSV UTF-8', or for example: iconv -f WINDOWS-1252 -t UTF-8"
    return "convert it first, for example: iconv -f WINDOWS-1252 -t UTF-8"


def read_lines(file: File, damaged: list[int] | None = None) -> Iterator[str]:
    """The lines of a text file with their line ends, decoded one by one; a leading BOM is stripped.

    damaged: takes the numbers of lines that are not UTF-8, whose wrong bytes are read as U+FFFD; without it such a
    line is an InputError.
    """
    offset = number = 0
    try:
        with open_bytes(file) as stream:
            while raw := stream.readline(LARGEST + 1):
                number += 1
                if len(raw) > LARGEST:
                    raise too_large(f"{file}, line {number}")
                try:
                    line = decode(raw, file, offset, number)
                except InputError:
                    if damaged is None or b"\0" in raw:
                        raise
                    damaged.append(number)
                    line = raw.decode("utf-8", errors="replace")
                offset += len(raw)
                yield line.removeprefix("\ufeff") if number == 1 else line
    except Exception as error:
        raise truncated(error, file, f"{number} lines came before") from error


def read_text(file: File) -> str:
    """A whole text file as one string: no newline is translated, a BOM stays (offsets count both)."""
    raw = b""
    try:
        with open_bytes(file) as stream:
            raw = stream.read(LARGEST + 1)
            if len(raw) > LARGEST:
                raise too_large(file)
    except Exception as error:
        raise truncated(error, file, "its text is not whole") from error
    return decode(raw, file)


def too_large(where: str | File) -> InputError:
    return InputError(f"{where}: more than {LARGEST:,} bytes in one document; cut it into several, or take it out")


class _RepeatedKey(ValueError):
    """Of one object of JSON."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RepeatedKey(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return row


_JSON = json.JSONDecoder(object_pairs_hook=_object)


def parsed_json(text: str, place: str | Path) -> Any:
    """What JSON says. JSONDecodeError where it is none; InputError where it is nested without end, and where an
    object has a key twice: the first value would vanish."""
    try:
        return _JSON.decode(text)
    except _RepeatedKey as error:
        raise InputError(
            f"{place}: an object of JSON has a key twice; give the second another name, or take it out",
            text=str(error),
        ) from error
    except RecursionError as error:
        raise InputError(f"{place}: JSON nested too deeply; correct or remove it") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{place}: JSON that cannot be read ({error}); correct or remove it") from error


def truncated(error: Exception, file: File, state: str) -> Exception:
    """The InputError for a packed file that breaks off or is damaged; any other error as it is."""
    import zstandard

    if isinstance(error, zstandard.ZstdError) and "too much memory" in str(error):
        return InputError(
            f"{file}: packed with a window above {LARGEST_WINDOW:,} bytes (zstd --long=29 or more); unpack it first: "
            "zstd -d --long=31"
        )
    if isinstance(error, (zipfile.BadZipFile, tarfile.TarError)):  # their words may be those of a member
        return InputError(f"{file}: truncated or damaged archive; {state}; copy or download it again")
    if isinstance(error, (*_DAMAGED, zstandard.ZstdError)) or (isinstance(error, OSError) and error.errno is None):
        return InputError(
            f"{file}: truncated or damaged {file.suffix} file ({error}); {state}; copy or download it again"
        )
    return error


def missing_column(name: str, columns: Iterable[str], place: str | File) -> InputError:
    """The names that are there are shown where text is asked for: the first line of a table, or the keys of a JSON
    object, may be somebody's words."""
    names = list(columns)
    return InputError(
        f"{place}: no column '{name}' among the {len(names)} that are there{near(name, names)}; name the text's "
        "column with --text-field, or in the task's options",
        text=", ".join(names),
    )
