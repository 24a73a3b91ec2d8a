"""Files that anybody may hand in: unpacked, decoded and parsed, or refused with the place and the remedy."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import InputError, nearest

LARGEST = 2**28  # bytes of one text, line or archive member, unpacked: what is larger is taken for a bomb
_RATIO = 1_000  # unpacked bytes to a packed one, above LARGEST: text makes three to thirty


class _Zstd(io.RawIOBase):
    """A zstd file as a stream that notices when its last frame has no end (the library's does not)."""

    def __init__(self, file: Path) -> None:
        import zstandard

        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._handle = file.open("rb")
        self._fresh = True
        self._ready = b""
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._fresh = self._new(), True
            chunk = chunk or self._handle.read(1 << 12)  # a bomb makes 32,000 bytes of each
            if not chunk:
                if not self._fresh:
                    raise EOFError("the last zstd frame has no end")
                return 0
            self._fresh = False
            self._ready = self._frame.decompress(chunk)
            self._unpacked += len(self._ready)
            if self._unpacked > max(LARGEST, _RATIO * self._handle.tell()):
                raise InputError(
                    f"{self._handle.name}: unpacks to {_RATIO:,} times its size, and to more than {LARGEST:,} bytes: "
                    "a bomb, and no corpus"
                )
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


def open_bytes(file: Path) -> BinaryIO:
    """The unpacked bytes of a plain, .gz or .zst file."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    if file.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(file, "rb"))
    if file.suffix.lower() == ".zst":
        return io.BufferedReader(_Zstd(file), 1 << 17)
    return file.open("rb")


def decode(raw: bytes, file: str | Path, before: int = 0, line: int | None = None) -> str:
    """UTF-8, strictly; the error names the byte offset in the unpacked file (`before` bytes precede)."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"line {line}, byte" if line else "byte"
        raise InputError(
            f"{file}: not UTF-8 at {where} {before + error.start} (0x{raw[error.start]:02x}); convert it "
            f"first, for example: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def read_lines(file: Path) -> Iterator[str]:
    """The lines of a text file with their line ends, decoded one by one; a leading BOM is stripped."""
    offset = number = 0
    try:
        with open_bytes(file) as stream:
            while raw := stream.readline(LARGEST + 1):
                number += 1
                if len(raw) > LARGEST:
                    raise too_large(f"{file}, line {number}")
                line = decode(raw, file, offset, number)
                offset += len(raw)
                yield line.removeprefix("\ufeff") if number == 1 else line
    except Exception as error:
        raise _truncated(error, file, f"{number} lines came before") from error


def read_text(file: Path) -> str:
    """A whole text file as one string: no newline is translated, a BOM stays (offsets count both)."""
    raw = b""
    try:
        with open_bytes(file) as stream:
            raw = stream.read(LARGEST + 1)
            if len(raw) > LARGEST:
                raise too_large(file)
    except Exception as error:
        raise _truncated(error, file, "its text is not whole") from error
    return decode(raw, file)


def too_large(where: str | Path) -> InputError:
    return InputError(f"{where}: more than {LARGEST:,} bytes in one document; cut it into several, or take it out")


def parsed_json(text: str, place: str | Path) -> Any:
    """What JSON says. JSONDecodeError where it is none; InputError where it is nested without end."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{place}: JSON nested too deeply; correct or remove it") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{place}: JSON that cannot be read ({error}); correct or remove it") from error


def _truncated(error: Exception, file: Path, state: str) -> Exception:
    """The InputError for a packed file that breaks off or is damaged; any other error as it is."""
    import zstandard

    if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)):
        return InputError(
            f"{file}: truncated or damaged {file.suffix} file ({error}); {state}; copy or download it again"
        )
    return error


def missing_column(name: str, columns: Mapping[str, Any] | list[str], place: str | Path) -> InputError:
    return InputError(
        f"{place}: no column '{name}'; {nearest(name, columns)}; name the text's column with --text-field"
    )
