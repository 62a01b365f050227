"""The vault: seals secrets with AES-256-GCM under the master key, and opens them again.

An envelope is one byte of format version, a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. What it belongs
to (key, owner, service, field) is not in it: it is authenticated as associated data, so that an envelope opens only in
the place it was sealed for.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes

from lib.secret import Secret

VERSION = b"\x01"
NONCE_BYTES = 12  # random, never counted: NIST SP 800-38D 8.3 allows 2**32 of them under one key
TAG_BYTES = 16


class CannotOpen(Exception):
    """The envelope is damaged, or was sealed with another key or for another place: no part of it is given out."""


class Vault:
    """Seals and opens under one master key. `key_id` names the key and tells nothing about it."""

    def __init__(self, master_key: Secret) -> None:
        """`master_key`: 64 hex characters. Raises ValueError for anything else, without quoting it."""
        written = master_key.reveal()
        if len(written) != 64 or not all(character in "0123456789abcdefABCDEF" for character in written):
            raise ValueError("the master key must be 64 hex characters")
        self._key = bytes.fromhex(written)
        self.fingerprint = hmac.digest(self._key, b"steward key check", "sha256")
        self.key_id = self.fingerprint.hex()[:8]

    def seal(self, secret: Secret, owner: str, service: str, field: str) -> bytes:
        """The envelope of a secret for this place; another one each time."""
        # Half an emoji is kept as it came: an error here would quote the secret.
        return seal(self._key, secret.reveal().encode("utf-8", "surrogatepass"), self._place(owner, service, field))

    def open(self, envelope: bytes, owner: str, service: str, field: str) -> Secret:
        """The secret sealed for this place. Raises CannotOpen."""
        plaintext = unseal(self._key, envelope, self._place(owner, service, field))
        try:
            return Secret(plaintext.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            pass  # raised below: raised from here, it would carry the plaintext along
        raise CannotOpen("no text inside")

    def _place(self, owner: str, service: str, field: str) -> bytes:
        """The associated data. As JSON, because joined with a separator two places could look the same."""
        return json.dumps(["steward", VERSION[0], self.key_id, owner, service, field]).encode()


def seal(key: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """AES-256-GCM under a fresh nonce. `key`: 32 bytes."""
    nonce = get_random_bytes(NONCE_BYTES)
    ciphertext, tag = _cipher(key, nonce, associated_data).encrypt_and_digest(plaintext)
    return bytes(VERSION + nonce + ciphertext + tag)


def unseal(key: bytes, envelope: bytes, associated_data: bytes) -> bytes:
    """The plaintext of an envelope made by seal() with the same key and associated data. Raises CannotOpen."""
    if len(envelope) < len(VERSION) + NONCE_BYTES + TAG_BYTES or envelope[:1] != VERSION:
        raise CannotOpen("not an envelope")
    nonce, rest = envelope[1 : 1 + NONCE_BYTES], envelope[1 + NONCE_BYTES :]
    cipher = _cipher(key, nonce, associated_data)
    try:
        return bytes(cipher.decrypt_and_verify(rest[:-TAG_BYTES], rest[-TAG_BYTES:]))
    except ValueError:  # "MAC check failed", whatever it was that differs
        raise CannotOpen("damaged, or sealed with another key or for another place") from None


def _cipher(key: bytes, nonce: bytes, associated_data: bytes) -> Any:
    """Left to itself the library takes 16 bytes of nonce, takes any length of tag and of key: so all is said here."""
    if len(key) != 32:
        raise ValueError("an AES-256 key has 32 bytes")
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=TAG_BYTES)
    cipher.update(associated_data)
    return cipher
