"""The plaintext hunt: finds a secret in files, dumps, log lines and exceptions, however it has been written there.

What it cannot see for certain: a secret that was compressed, or is shown only in part.
"""

from __future__ import annotations

import io
import json
import os
import re
import traceback
from base64 import b64encode, urlsafe_b64encode
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

CHUNK = 1 << 20
SHORTEST = 8  # bytes; less would be found by chance
# What comes between the characters: backslashes of escapes, zeros of UTF-16, line ends, compressors' control bytes.
SPREAD = bytes(range(32)) + b"\\"
HEX_KEY = re.compile("(?:[0-9a-fA-F]{2}){16,}")
REQUESTS_SAFE = "!#$%&'()*+,/:;=?@[]~"  # what the library requests leaves as it is in a URL


@dataclass(frozen=True)
class Find:
    """Which kind of secret stands where, and how it is written; never the secret itself."""

    kind: str
    encoding: str
    where: str
    offset: int


class Hunt:
    """Looks for all these secrets at once. `secrets`: pairs of kind and value, several of one kind if need be."""

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        self._needles: dict[bytes, list[tuple[str, str, bytes]]] = {}  # by what is left of them without SPREAD
        for kind, secret in secrets:
            for pattern, encoding in needles(secret).items():
                self._needles.setdefault(pattern.translate(None, SPREAD), []).append((kind, encoding, pattern))
        if not self._needles:
            raise ValueError("a hunt for nothing finds nothing")
        self._overlap = 8 * max(map(len, self._needles))  # many backslashes may be between

    def search(self, name: str, data: bytes) -> list[Find]:
        """One find for each kind and encoding; `name` is told as the place, unless it holds a secret itself."""
        return self._stream(name, io.BytesIO(data))

    def search_file(self, path: Path) -> list[Find]:
        """Raises OSError for what is no file or cannot be read to its end."""
        if path.exists() and not path.is_file():
            raise OSError(f"neither file nor folder: {path}")  # a pipe could be waited for without end
        with path.open("rb", buffering=0) as file:
            return self._stream(str(path), file)

    def search_folder(self, path: Path) -> list[Find]:
        """Every file below, and every name. Raises OSError for what cannot be read, unless it has gone meanwhile."""
        if not path.is_dir():
            raise NotADirectoryError(str(path))
        finds: list[Find] = []
        for folder, folders, files in os.walk(path, onerror=_raise_unless_gone):
            for name in folders + files:
                finds += self.search(f"a name in {folder}", os.fsencode(name))
            links = [name for name in folders if Path(folder, name).is_symlink()]  # not walked into: an error
            for name in files + links:
                try:
                    finds += self.search_file(Path(folder, name))
                except FileNotFoundError as exc:
                    _raise_unless_gone(exc)
        return finds

    def _stream(self, name: str, file: io.BytesIO | io.FileIO) -> list[Find]:
        found: dict[tuple[str, str], int] = {}
        window, start = b"", 0
        while chunk := file.read(CHUNK):
            tail = window[-self._overlap :]
            start += len(window) - len(tail)
            window = tail + chunk.lower()
            found = {label: start + at for label, at in self._found(window).items()} | found
        if found and self._found(os.fsencode(name).lower()):
            name = "(the name itself holds a secret)"
        return [Find(kind, encoding, name, offset) for (kind, encoding), offset in found.items()]

    def _found(self, window: bytes) -> dict[tuple[str, str], int]:
        """Kind and encoding of what is in the window, and where.

        All needles are looked for in what is left without SPREAD: that is quick in files full of zeros, and escapes
        within escapes, which are many backslashes, are all the same. Which encoding it is, is asked afterwards.
        """
        found: dict[tuple[str, str], int] = {}
        rest = window.translate(None, SPREAD)
        for needle, encodings in self._needles.items():
            if (place := rest.find(needle)) >= 0:
                exact = {(kind, name): at for kind, name, each in encodings if (at := window.find(each)) >= 0}
                if not exact:
                    ends = range(len(window))
                    at = bisect_left(ends, place + 1, key=lambda end: len(window[:end].translate(None, SPREAD))) - 1
                    exact = {(encodings[0][0], f"{encodings[0][1]} (spread)"): at}
                found |= exact
        return found


def needles(secret: str) -> dict[bytes, str]:
    """Every way to write a secret, in lower case and to be looked for in lower case, and what that way is called.

    Hex and escapes come in both cases, and a secret in the wrong case is a leak too.
    """
    raw = secret.encode()
    if len(raw.translate(None, SPREAD)) < SHORTEST:
        raise ValueError(f"a secret of less than {SHORTEST} bytes cannot be told from chance")
    written = list(_written(secret, raw))
    if HEX_KEY.fullmatch(secret):
        key = bytes.fromhex(secret)
        written += [(f"{name}, of the key's bytes", pattern) for name, pattern in _written(key.decode("latin-1"), key)]
    found: dict[bytes, str] = {}
    for name, pattern in written:
        if len(pattern.translate(None, SPREAD)) >= SHORTEST:
            found.setdefault(pattern.lower(), name)
    return found


def exception_texts(exc: BaseException, strict: bool = False) -> Iterator[str]:
    """All that an exception, its causes and the members of its group tell whoever prints them.

    `strict`: also what `from None` holds back, and the local variables of every frame.
    """
    seen: list[int] = []
    waiting: list[BaseException | None] = [exc]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.append(id(link))
        for say in (str, repr, lambda link: repr(link.args)):
            with suppress(Exception):  # some cannot even say what they are
                yield say(link)
        yield "".join(traceback.format_exception(link))  # with its notes
        frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__)] if strict else []
        for value in [value for frame in frames for value in frame.f_locals.values()]:
            with suppress(Exception):
                yield repr(value)
        waiting += [link.__cause__, link.__context__ if strict or not link.__suppress_context__ else None]
        waiting += link.exceptions if isinstance(link, BaseExceptionGroup) else ()


def _written(text: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """All encodings of a text and its bytes, by name. Most are the same unless it has unusual characters."""
    urls = [quote(raw, safe=safe) for safe in ("", "/", REQUESTS_SAFE)]
    urls += [quote_plus(raw), re.sub("..", r"%\g<0>", raw.hex().upper())]
    urls += [re.sub("%..", lambda found: found[0].lower(), url) for url in urls]
    jsons = [json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    units = text.encode("utf-16-be").hex()
    jsons += [re.sub("....", r"\\u\g<0>", digits) for digits in (units, units.upper())]
    reprs = [repr(text)[1:-1], ascii(text)[1:-1], repr(raw)[2:-1]]
    found = [("plain", raw), ("plain", text.encode())]
    found += [(name, each.encode()) for name, of in (("URL", urls), ("JSON", jsons), ("repr", reprs)) for each in of]
    found += [("hex", raw.hex().encode()), ("hex", raw.hex().upper().encode())]
    for before in range(3):  # wherever it begins in a longer text, without the characters its neighbours have a part in
        inside = slice((before * 8 + 5) // 6, (before + len(raw)) * 8 // 6)
        found.append(("base64", b64encode(bytes(before) + raw)[inside]))
        found.append(("URL-safe base64", urlsafe_b64encode(bytes(before) + raw)[inside]))
    found += [("UTF-16", text.encode(f"utf-16-{end}").strip(b"\0")) for end in ("le", "be")]
    yield from found
    for name, pattern in found:  # as pg_dump writes a bytea
        yield "hex" if name == "plain" else f"hex of {name}", pattern.hex().encode()


def _raise_unless_gone(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError) or os.path.lexists(exc.filename):
        raise exc
