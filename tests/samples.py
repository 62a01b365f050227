"""Small real files for the tests: pictures of each type, a PDF, and each as the File that Telegram would tell of."""

from __future__ import annotations

import base64
import struct
import zlib

from lib.files import File


def png(width: int = 2, height: int = 2, padding: int = 0) -> bytes:
    """A grey picture; `padding` bytes are added in a chunk that readers skip."""
    rows = zlib.compress(b"".join(b"\x00" + b"\x80" * width for _ in range(height)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows)]
    chunks += [(b"teSt", b"\x00" * padding)] if padding else []
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////"
    "////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)
LARGER_JPEG = JPEG.replace(b"\x08\x00\x01\x00\x01", struct.pack(">BHH", 8, 480, 640))  # by its frame header
GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")
WEBP = base64.b64decode("UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAUAmJaQAA3AA/v02aAA=")
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


def image(data: bytes = b"", media_type: str = "image/png", file_id: str = "picture") -> File:
    return File(file_id, "image", media_type, size=len(data or png()), data=data or png())


def pdf(name: str = "report.pdf", file_id: str = "pdf") -> File:
    return File(file_id, "pdf", "application/pdf", name, len(PDF), PDF)
