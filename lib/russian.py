"""Everything Steward says in Telegram in its own words, in Russian."""

from __future__ import annotations

from lib.english import English


class Russian(English):
    """What has words of its own; how they are put together stands in English."""

    START = (
        "Здравствуйте! Я Steward, ваш помощник. Пишите мне, как написали бы человеку: думаю я с помощью Claude и помню"
        " наш разговор. Что ещё я умею, покажет /help."
    )
