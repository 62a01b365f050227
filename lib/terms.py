"""Terms: what of a text is searched for, the same for every form of a word, whatever the language.

The turns that are kept and the question that looks for them both go through here, so Qdrant compares plain words and
needs to know of no language. Nobody tells us the language of a text, and a guess from one short question is often
wrong: so a word in Latin letters stands for its stem in each of LATIN, and is found by any of them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import snowballstemmer

LATIN = ("english", "german", "spanish", "french", "italian", "portuguese")
CYRILLIC = ("russian",)
LONGEST = 40  # letters; a longer word is a key or an address, and nobody asks for it by heart

# What is written without blanks, or puts its endings onto the word in one block: found by every two signs in a row.
PAIRED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
PIECES = re.compile(rf"([{PAIRED}]+)|((?:[^\W_{PAIRED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])+)")
ACCENTS = re.compile("[\u0300-\u036f]")

# Words that say nothing about what is meant. Rare ones are worth more anyway (BM25); these would make a question that
# nothing was ever said about look as if it was, above all while little is remembered.
STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before being but by can could did do does
    doing don done each for from get got had has have having he her here hers him his how i if in into is it its just
    know let like ll m me more most my no nor not now of on once only or other our out over own please re s same say
    said she should so some such t tell than that the their them then there these they thing this those through to too
    up us ve very was we were what when where which while who whom why will with would yes you your
    und oder aber der die das den dem des ein eine einen einem einer eines ist sind war waren wird werden wurde hat
    habe haben hatte hatten kann können konnte ich du er sie es wir ihr mich mir dich dir uns euch ihm ihn ihnen mein
    meine meinen meinem meiner dein deine sein seine unser unsere nicht kein keine auch noch nur schon sehr so wie was
    wer wen wem wo wann warum wieso weshalb welche welcher welches mit von vom zu zum zur bei beim aus auf an am im in
    für über unter nach vor um als wenn dass daß ob denn doch mal bitte gibt dann da hier dort man sich gern
    el la los las un una unos unas y o u pero de del al a en con por para sin sobre entre que qué quién quien cuál cual
    cuándo cuando dónde donde cómo como cuánto cuánta cuántos cuántas es son era eran fue ser está están estaba estoy
    hay he ha han había me te se nos le les lo mi mis tu tus su sus yo tú él ella nosotros ellos ellas no sí ya muy más
    menos también este esta esto ese esa eso esos estas porque si tengo tiene tener puedo puede hacer favor
    le les des du et ou où mais est sont était être je j il elle on nous vous ils elles ne pas plus ce cet cette ces
    c d l n qu que qui quoi quel quelle quels quelles dans sur avec pour par mon ma mes ton ta tes son sa ses notre nos
    votre vos au aux y en si bien très fait ai as avons avez ont avait
    il lo gli i uno di da dal nel con su per tra fra e ed che chi cui non più come dove quando perché sono sei è era ho
    hai abbiamo hanno mi ti ci vi si mio mia tuo tua suo sua questo questa quello quella anche
    o os as um uma uns umas do dos das no na nos nas em com por para sem e ou mas que quem qual quando onde como não
    sim já mais muito é são foi era ser está eu ele ela nós eles elas meu minha teu tua seu sua isso isto esse essa
    и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее ей мне было вот от меня
    еще нет о об из ему теперь когда даже ну вдруг ли если уже или ни быть был была были него до вас нибудь опять уж
    вам ведь там потом себя ничего может они тут где есть надо ней для мы тебя их чем сам чтоб без чего раз тоже себе
    под будет тогда кто этот того потому этого какой какая какое какие каком какую ним здесь этом один мой моя мое мои
    моего моей моем моих моему моим тем чтобы нее были куда зачем всех никогда можно при об это эта эти этой эту нам
    нас наш наша про сколько который которая которое которые почему пожалуйста скажи ли свой своя свои
    thank thanks write give explain much many kindly danke dank schreib schreibe erzähl erzähle erkläre erklär gib viel
    viele vielen etwas gracias mucho mucha muchos muchas escribe dime dame cuéntame explica merci écris dis grazie
    scrivi dimmi obrigado obrigada escreva diga спасибо большое очень напиши расскажи объясни назови напомни дай
    год года году
    です ます した して って った ない ある いる する こと もの から まで どこ いつ だれ なに これ それ ませ せん した
    まし ださ さい とう りが あり りま すか でし しょ ょう くだ
    """.replace("ё", "е").split()
)


def terms(text: str) -> list[str]:
    """Its terms in their order, repeated as they are in the text; letters and digits only."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("ё", "е")
    found: list[str] = []
    for signs, word in PIECES.findall(plain):
        if signs:
            pairs = [signs[at : at + 2] for at in range(len(signs) - 1)] or [signs]
            found += [pair for pair in pairs if pair not in STOP_WORDS]
        elif word not in STOP_WORDS and len(word) <= LONGEST:
            found += _stems(word)
    return found


@lru_cache(maxsize=50_000)
def _stems(word: str) -> tuple[str, ...]:
    """One term for each stem that one of the languages gives it, without accents: many people leave them out."""
    languages = LATIN if "a" <= _bare(word)[0] <= "z" else CYRILLIC if "а" <= word[0] <= "ӿ" else ()
    return tuple(dict.fromkeys(_bare(STEMMERS[name].stemWord(word)) for name in languages)) or (_bare(word),)


def _bare(word: str) -> str:
    stripped = ACCENTS.sub("", unicodedata.normalize("NFD", word))
    return unicodedata.normalize("NFC", stripped) or word


STEMMERS = {name: snowballstemmer.stemmer(name) for name in (*LATIN, *CYRILLIC)}
