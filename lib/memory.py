"""Qdrant as Steward's memory: which earlier turns of a chat have to do with what is being said.

A collection of points without vectors: each is a turn, with its terms (lib/terms.py) in a text index that ranks by
BM25. No text anyone could read is kept there, and nothing that PostgreSQL could not give back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from lib.history import Exchange
from lib.secret import Secret
from lib.terms import terms

COLLECTION = "turns"
LONGEST = 4000  # characters of a question that are looked at
SECONDS = 3  # for each step of a request: connect, send, the next piece of the answer

# BM25 has no scale of its own: what a rare word is worth grows with the logarithm of how many turns there are. A turn
# is recalled that scores at least this part of it; so a single word must be rare, and several may be less so.
ENOUGH = 0.4
# How much a long turn is marked down (b of BM25, 0 to 1). The usual 0.75 is for texts that are long because they say
# the same at length; an answer is long because there was much to say.
LENGTH = 0.3

TERMS = models.TextIndexParams(
    type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True, scoring=True
)
SCORING = models.TextQueryScoring(bm25=models.Bm25Params(b=LENGTH))
CHAT = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)


class Away(Exception):
    """Qdrant is away, refuses or fails: works later, and nothing is lost by it. The text is one line and no secret."""


class Missing(Away):
    """The collection is not there, new or lost with its volume: queue every turn, then make() it."""


class Memory:
    """A connection to Qdrant over HTTP; nothing is asked before the first call. Each method raises Away and Missing."""

    def __init__(self, url: str, api_key: Secret | None) -> None:
        self._url, self._api_key = url, api_key
        self._whole = False

    def recall(self, chat_id: int, text: str, *, except_ids: Sequence[int] = (), most: int = 5) -> list[int]:
        """The ids of the turns of this chat that have most to do with `text`, best first, without `except_ids`."""
        query = " ".join(dict.fromkeys(terms(text[:LONGEST])))
        if not query:
            return []
        wanted = models.Filter(
            must=[models.FieldCondition(key="chat_id", match=models.MatchValue(value=chat_id))],
            must_not=[models.HasIdCondition(has_id=list(except_ids))] if except_ids else None,
        )

        with self._collection() as client:
            kept = client.count(COLLECTION, exact=False).count
            found = client.query_points(
                COLLECTION,
                query=models.TextQuery(text=models.TextQueryInput(query=query, scoring=SCORING)),
                using="terms",
                query_filter=wanted,
                limit=most,
                score_threshold=ENOUGH * math.log1p(kept),
                with_payload=False,
            )
        return [int(point.id) for point in found.points]

    def keep(self, turns: Sequence[Exchange]) -> None:
        """Write these turns, in place of what was kept of them; once it returns they are found."""
        points = [
            models.PointStruct(
                id=turn.id,
                vector={},
                payload={
                    "chat_id": turn.chat_id,
                    "user_id": turn.user_id,
                    "at": turn.at.isoformat(),
                    "terms": " ".join(terms(turn.question) + terms(turn.answer)),
                },
            )
            for turn in turns
        ]
        if points:
            with self._collection() as client:
                client.upsert(COLLECTION, points, wait=True)

    def remove(self, ids: Sequence[int]) -> None:
        """Forget these turns, known or not."""
        if ids:
            with self._collection() as client:
                client.delete(COLLECTION, models.PointIdsList(points=list(ids)), wait=True)

    def make(self) -> None:
        """Make the collection, unless it is there: another worker may have been faster."""
        with _translated():
            try:
                self._client.create_collection(COLLECTION, vectors_config={})
            except UnexpectedResponse as exc:
                if exc.status_code != 409:
                    raise

    def drop(self) -> None:
        """Delete the collection, if it is there."""
        self._whole = False
        with _translated():
            self._client.delete_collection(COLLECTION)

    def count(self) -> int:
        """How many turns are kept."""
        with self._collection() as client:
            return client.count(COLLECTION, exact=True).count

    @cached_property
    def _client(self) -> QdrantClient:
        """Asks nothing. Raises ValueError for an address it cannot read."""
        # The key as a header: given as a key, it makes the library warn of every address that is not https. Without a
        # port the scheme's own, as in lib/qdrant.py, and not 6333.
        return QdrantClient(
            url=self._url,
            port=None,
            headers={"api-key": self._api_key.reveal()} if self._api_key else None,
            timeout=SECONDS,
            prefer_grpc=False,
            check_compatibility=False,  # it would ask from a thread of its own
        )

    @contextmanager
    def _collection(self) -> Iterator[QdrantClient]:
        """The client, once the collection is known to have its indexes: who made it may have died over them."""
        try:
            with _translated():
                if not self._whole:
                    self._client.get_collection(COLLECTION)
                    self._client.create_payload_index(COLLECTION, "terms", field_schema=TERMS, wait=True)
                    self._client.create_payload_index(COLLECTION, "chat_id", field_schema=CHAT, wait=True)
                    self._whole = True
                yield self._client
        except Missing:
            self._whole = False
            raise


@contextmanager
def _translated() -> Iterator[None]:
    """Whatever the library raises as Away or Missing. Its own texts quote what was sent and what came."""
    try:
        yield
    except UnexpectedResponse as exc:
        if exc.status_code == 404:
            raise Missing("the collection is not there") from None
        refused = exc.status_code in (401, 403)
        raise Away("it refuses QDRANT_API_KEY" if refused else f"it answers with status {exc.status_code}") from None
    except ResponseHandlingException as exc:
        raise Away(type(exc.source).__name__) from None
    except (ApiException, QdrantException, ValueError, OSError) as exc:
        raise Away(type(exc).__name__) from None
