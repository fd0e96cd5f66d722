"""The words of texts in several languages, as a search compares them: without endings, accents and the commonest."""

import functools
import re
import unicodedata

import snowballstemmer

# The commonest words: a text's language is the one of which it has most. Those of questions stand there too.
COMMON = {
    "english": (
        "a an and any are as at be been but by can could did do does for from had has have he her his how i if in "
        "into is it its me my no not of on or our she should so than that the their them then there these they "
        "this to was we were what when where which while who whom whose why will with would you your"
    ),
    "french": (
        "a ai ainsi au aux avec c ce ces cet cette combien comment d dans de depuis des du elle elles en est et "
        "etaient etait ete etre fait faut il ils j je l la le les leur leurs lors m mais me n ne nous on ont ou "
        "par pas peut peuvent plus pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa se ses si "
        "son sont sur t un une vers vous y"
    ),
    "german": (
        "als am an auch auf aus bei bis das dem den der des die durch ein eine einem einen einer es fur hat ich "
        "ihr im in ist kann man mit nach nicht noch nur oder sich sie sind so um und von vor wann war warum was "
        "welche welcher wenn wer werden wie wird wo zu zum zur"
    ),
    "italian": (
        "a ai al alla anche c che chi ci come con cosa cui d da dal dalla degli dei del della delle di dove e ed "
        "era gli ha hanno i il in io l la le lo ma ne nel nella non o per perche piu qual quale quali quando "
        "quanto quanti quante quanta questo se si sono su sul sulla tra un una uno"
    ),
    "spanish": (
        "a al como con cual cuales cuando cuanto cuantos cuantas cuanta de del donde e el ella en entre era es "
        "esta este fue ha hay la las lo los mas no o para pero por porque que quien se ser si sin sobre son su sus "
        "un una y"
    ),
}
_COMMON = {name: frozenset(some.split()) for name, some in COMMON.items()}
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{3,}")


def plain(text: str) -> str:
    """The text in small letters without accents, ligatures and soft hyphens."""
    letters = unicodedata.normalize("NFKD", text.replace("\u00ad", "").casefold().replace("œ", "oe"))
    return "".join(c for c in letters if not "\u0300" <= c <= "\u036f")


def language(text: str) -> str:
    """The language of COMMON whose commonest words the text has most of; English where it has none."""
    found = _WORD.findall(plain(text[:2000]))
    return max(_COMMON, key=lambda name: sum(word in _COMMON[name] for word in found))


def terms(text: str) -> list[str]:
    """The text's words, in order, as its language's endings and accents leave them; the commonest are left out.

    Where a script has no spaces, pairs of letters stand for words.
    """
    name = language(text)
    found = []
    for word in _WORD.findall(plain(text)):
        if _UNSPACED.fullmatch(word):
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        elif word not in _COMMON[name]:
            found.append(_stem(name, word))
    return found


@functools.lru_cache(100_000)
def _stem(name: str, word: str) -> str:
    return str(_stemmer(name).stemWord(word))


@functools.cache
def _stemmer(name: str) -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer(name)
