"""The sentence of documents that answers a question, and whether it does: quoted, not sure, or not there at all.

Three things are weighed: how much nearer a sentence is to the question than others of its language are, what of the
question it repeats, and whether it has what is asked for, as a name where somebody is. Embedders find texts nearer that
have the question's language, so each language is measured from its own mean, over the documents' sentences and over
BACKGROUND, the same ten sentences in each language, without which a short document would be its own measure.
"""

import contextlib
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from etudes.core.files import appearing
from etudes.retrieval.embedders import Embedder
from etudes.retrieval.grounding import names, numbers
from etudes.retrieval.index import Entry, Index, Watch
from etudes.retrieval.search import maxsim
from etudes.retrieval.sentences import is_heading, sentences
from etudes.retrieval.terms import language, plain, terms

# The weights and the two marks were chosen on the open half of tests/asked.py; docs/studies/rag.md has what came of it.
NEAR, CLOSE, SHARED, KIND = 0.8, 0.3, 2.0, 1.2  # of a sentence with its heading, of its tokens, of words, of its kind
UNSURE, QUOTED = 4.9, 7.4  # the scores from which on a sentence is shown with doubt, and as the answer
FOREIGN = 0.35  # the share of words that counts where question and sentence have different languages
POOL = 10  # sentences that are looked at token by token
BATCH = 64  # sentences that are embedded at once
BACKGROUND = {
    "english": (
        "It rained all afternoon. My brother likes football. The soup is too hot. She bought a new coat. "
        "The bus was late again. He plays the piano badly. We walked along the river. The government resigned. "
        "Cats sleep most of the day. The film was rather long."
    ),
    "french": (
        "Il a plu tout l'après-midi. Mon frère aime le football. La soupe est trop chaude. Elle a acheté un manteau. "
        "Le bus était encore en retard. Il joue mal du piano. Nous avons longé la rivière. Le gouvernement a "
        "démissionné. Les chats dorment presque toute la journée. Le film était assez long."
    ),
    "german": (
        "Es regnete den ganzen Nachmittag. Mein Bruder mag Fußball. Die Suppe ist zu heiß. Sie kaufte einen Mantel. "
        "Der Bus kam wieder zu spät. Er spielt schlecht Klavier. Wir gingen am Fluss entlang. Die Regierung trat "
        "zurück. Katzen schlafen fast den ganzen Tag. Der Film war ziemlich lang."
    ),
    "italian": (
        "Ha piovuto tutto il pomeriggio. A mio fratello piace il calcio. La zuppa è troppo calda. Ha comprato un "
        "cappotto. L'autobus era di nuovo in ritardo. Suona male il pianoforte. Abbiamo camminato lungo il fiume. "
        "Il governo si è dimesso. I gatti dormono quasi tutto il giorno. Il film era piuttosto lungo."
    ),
    "spanish": (
        "Llovió toda la tarde. A mi hermano le gusta el fútbol. La sopa está demasiado caliente. Ella compró un "
        "abrigo. El autobús llegó tarde otra vez. Toca mal el piano. Caminamos por el río. El gobierno dimitió. "
        "Los gatos duermen casi todo el día. La película era bastante larga."
    ),
}
# What a question asks for, in its plain words: a year, another number, somebody.
_YEAR = re.compile(r"\b(which year|what year|quelle annee|welchem jahr|che anno|que ano)\b")
_TIME = re.compile(r"\b(when|until|what day|which day|quand|jusqu a quand|quel (jour|mois)|wann|quando|cuando)\b")
_NUMBER = re.compile(
    r"\bhow (many|much|long|old|loud|high|tall|deep|wide|far|fast|soon|often|big|large|heavy)\b|\b(costs?|price|"
    r"temperature|combien|quel age|quelle heure|prix|hauteur|tarifs?|numero|number|wie ?viele?|wie (lange|hoch|alt)|"
    r"quant[oaie]|cuant[oa]s?)\b"
)
_NAME = re.compile(r"\b(who|whom|whose|name of|qui|nom d\w*|wer|wem|wen|chi|quien|quienes)\b")
_CALENDAR = re.compile(
    r"\b(january|february|march|april|may|june|july|august|september|october|november|december|janvier|fevrier|mars|avril|"
    r"mai|juin|juillet|aout|septembre|octobre|novembre|decembre|(mon|tues|wednes|thurs|fri|satur|sun)days?|lundi|mardi|"
    r"mercredi|jeudi|vendredi|samedi|dimanche|januar|februar|marz|juni|juli|oktober|dezember|montag|dienstag|mittwoch|"
    r"donnerstag|freitag|samstag|sonntag|gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|"
    r"dicembre|lunedi|martedi|mercoledi|giovedi|venerdi|sabato|domenica|enero|febrero|abril|mayo|junio|julio|septiembre|"
    r"octubre|noviembre|diciembre|lunes|martes|miercoles|jueves|viernes|sabado|domingo)\b"
)
_WORD = re.compile(r"[^\W\d_][\w’'-]*")

Verdict = Literal["quoted", "unsure", "absent"]


@dataclass(frozen=True)
class Sentence:
    """What can be quoted: a document's text at start:end, and the title and heading that it stands under."""

    document: str
    start: int
    end: int
    text: str
    about: str

    @functools.cached_property
    def language(self) -> str:
        return language(self.text)

    @functools.cached_property
    def terms(self) -> frozenset[str]:
        return frozenset(terms(f"{self.about}. {self.text}"))


@dataclass(frozen=True)
class Quotation:
    """The sentence nearest to a question, and whether it answers it."""

    sentence: Sentence
    score: float
    verdict: Verdict


def quotable(name: str, title: str, text: str) -> list[Sentence]:
    """The sentences of a document, in order, but for its title and headings."""
    found, heading = [], ""
    for a, b in sentences(text):
        piece = text[a:b]
        if is_heading(piece) or (not text[:a].strip() and not re.search(r"[.!?…。:]\W*$", piece)):
            heading = piece
        else:
            found.append(Sentence(name, a, b, piece, f"{title}. {heading}"))
    return found


class Quoter:
    """Quotes from sentences whose vectors, with what they are about, are at hand: float [n, width]."""

    def __init__(self, embedder: Embedder, some: Sequence[Sentence], vectors: np.ndarray) -> None:
        self.embedder, self.sentences, self.vectors = embedder, some, vectors
        self._counts = Counter(term for sentence in some for term in sentence.terms)
        self._languages = np.array([sentence.language for sentence in some])
        self._zeros = {name: _zero(embedder, name) for name in sorted(set(self._languages))}

    def quote(self, question: str) -> Quotation | None:
        """The sentence that answers the question best; None where there are no sentences."""
        if not self.sentences:
            return None
        asked, tongue = set(terms(question)), language(question)
        (vector,), (tokens,) = self.embedder.encode([question]), self.embedder.tokens([question])
        nearness = {name: zero.vectors @ vector for name, zero in self._zeros.items()}
        closeness = {name: np.array([maxsim(tokens, t) for t in z.tokens]) for name, z in self._zeros.items()}
        near = _standard(self.vectors @ vector, self._languages, nearness, themselves=True)
        shared = np.array([self._shared(asked, s) if s.language == tongue else FOREIGN for s in self.sentences])
        fits = answer_kind(question)
        kinds = np.array([fits(s.text) for s in self.sentences], float)
        scores = NEAR * near + SHARED * shared + KIND * kinds
        best = np.argsort(-scores, kind="stable")[:POOL]
        close = self.embedder.tokens([self.sentences[i].text for i in best])
        found = np.array([maxsim(tokens, own) for own in close])
        scores = scores[best] + CLOSE * _standard(found, self._languages[best], closeness)
        k = int(np.argmax(scores))
        verdict: Verdict = "quoted" if scores[k] >= QUOTED else "unsure" if scores[k] >= UNSURE else "absent"
        return Quotation(self.sentences[best[k]], float(scores[k]), verdict)

    def _shared(self, asked: set[str], sentence: Sentence) -> float:
        """The share of the question's terms that a sentence has, the rarer ones counting more."""
        n = len(self.sentences)

        def weight(term: str) -> float:
            return math.log(1 + (n - self._counts[term] + 0.5) / (self._counts[term] + 0.5))

        return sum(map(weight, asked & sentence.terms)) / (sum(map(weight, asked)) or 1.0)


def _standard(
    values: np.ndarray, languages: np.ndarray, background: dict[str, np.ndarray], themselves: bool = False
) -> np.ndarray:
    """How far values [n] are above the mean of their language, in standard deviations: over the background and, if
    wanted, over the values themselves."""
    parts = dict(background)
    if themselves:
        parts = {name: np.concatenate([some, values[languages == name]]) for name, some in background.items()}
    middles = {name: some.mean() for name, some in parts.items()}
    spread = np.concatenate([some - middles[name] for name, some in parts.items()]).std()
    return np.asarray((values - [middles[name] for name in languages]) / max(spread, 1e-6))


@dataclass(frozen=True)
class _Zero:
    """The background in one language."""

    vectors: np.ndarray  # [10, width]
    tokens: list[np.ndarray]


@functools.lru_cache(16)
def _zero(embedder: Embedder, name: str) -> _Zero:
    some = [BACKGROUND[name][a:b] for a, b in sentences(BACKGROUND[name])]
    placed = [f"Notes. Notes: {one}" for one in some]  # as quotable sentences are embedded
    return _Zero(embedder.encode(placed), embedder.tokens(some))


def answer_kind(question: str) -> Callable[[str], bool]:
    """Whether a text has what the question asks for and does not say itself: a year, a number, a time, a name; any text
    has nothing in particular."""
    asked = plain(question)
    said, called = numbers(question), names(question) | set(_WORD.findall(question)[:1])
    if _YEAR.search(asked):
        return lambda text: bool(set(re.findall(r"\b[12]\d{3}\b", text)) - set(re.findall(r"\d+", question)))
    if _TIME.search(asked):
        return lambda text: bool(numbers(text) - said or _CALENDAR.search(plain(text)))
    if _NUMBER.search(asked):
        return lambda text: bool(numbers(text) - said)
    if _NAME.search(asked):
        return lambda text: bool(names(text) - called)
    return lambda text: True


def quoter(index: Index, folder: Path, watch: Watch | None = None) -> Quoter:
    """What quotes from an index's documents; the vectors of their sentences are kept in the folder, a file each."""
    found: list[Sentence] = []
    vectors: list[np.ndarray] = [np.zeros((0, index.embedder.width))]
    entries = index.documents()
    for entry in entries:
        some, own = embed_sentences(index, entry, folder, watch)
        found += some
        vectors.append(own)
    for path in set(folder.glob("*.npy")) - {_place(folder, entry, index.embedder) for entry in entries}:
        path.unlink(missing_ok=True)
    return Quoter(index.embedder, found, np.concatenate(vectors).astype(np.float32))


def embed_sentences(
    index: Index, entry: Entry, folder: Path, watch: Watch | None = None
) -> tuple[list[Sentence], np.ndarray]:
    """The sentences of an index's document and their vectors, float16 [n, width], from the folder or new.

    `watch` gets (sentences done, sentences in all) while they are made.
    """
    some, path = quotable(entry.name, entry.title, index.text(entry.name)), _place(folder, entry, index.embedder)
    with contextlib.suppress(OSError, ValueError, EOFError):  # none yet, or a damaged one
        held = np.load(path)
        if held.shape == (len(some), index.embedder.width):
            return some, held
    vectors = np.zeros((len(some), index.embedder.width), np.float16)
    for i in range(0, len(some), BATCH):
        vectors[i : i + BATCH] = index.embedder.encode([f"{s.about}: {s.text}" for s in some[i : i + BATCH]])
        if watch:
            watch(min(i + BATCH, len(some)), len(some))
    with appearing(path) as draft, draft.open("wb") as file:
        np.save(file, vectors)
    return some, vectors


def _place(folder: Path, entry: Entry, embedder: Embedder) -> Path:
    return folder / f"{entry.digest[:32]}-{re.sub(r'[^a-z0-9]+', '-', embedder.name.lower())}.npy"
