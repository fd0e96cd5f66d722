"""Texts as numbers: tokenizers that give every text back, and the windows and lanes that a language network reads.

A tokenizer is one file of the library `tokenizers`, which transformers loads too.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from etudes.core.errors import Problem, unknown
from etudes.core.files import appearing
from etudes.data.batches import Batches
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

if TYPE_CHECKING:
    import sentencepiece
    import tokenizers

START = "<start of work>"  # its spaces keep it apart from everything that byte-level merges can make
_SPACE = "▁"  # what SentencePiece writes for a space
OFTEN = 10  # how many times a character must be seen to have a token of its own
_MISTRAL = Carrier(
    registry="pypi",
    package="mistral-common",
    version="1.13.1",
    path="mistral_common/data/tokenizer.model.v1",
    sha256="dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
)
_CAMEMBERT = ("almanach/camembert-base", "6ec0b68fc45f5ac6d9e143fd7e628a73a18a06be")


class Tokenizer:
    """Texts to ids and back; `size` ids in all, of which `start` begins every work."""

    def __init__(self, tokenizer: "tokenizers.Tokenizer"):
        start = next((token for token in (START, "<s>") if tokenizer.token_to_id(token) is not None), None)
        if start is None:
            raise Problem(f"the tokenizer has no token {START} or <s> to begin a work with; take another")
        tokenizer.encode_special_tokens = True  # a text that spells a special token is a text like any other
        self._tokenizer = tokenizer
        self.start: int = tokenizer.token_to_id(start)
        self.size: int = tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The ids of the text, without `start`. Problem for halves of characters, which UTF-8 cannot write."""
        if any("\ud800" <= character <= "\udfff" for character in set(text)):
            raise Problem("the text holds half a character (a surrogate), which UTF-8 cannot write; give it as UTF-8")
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, `start` left out: what was encoded, to the last character, unless bytes were lost."""
        return self._tokenizer.decode([int(i) for i in ids if i != self.start], skip_special_tokens=False)

    def lost_bytes(self, text: str) -> int:
        """The UTF-8 bytes of the text's characters that its tokens do not spell; 0 for characters() and bpe().

        The text is cut where its tokens end. Of each cut the longest common subsequence with what the tokens spell is
        given back: a character that is unknown, or written as another, is lost; so is all but one of several spaces.
        """
        if self.decode(self.encode(text)) == text:
            return 0
        found = self._tokenizer.encode(text, add_special_tokens=False)
        silent = {self.start, self._unknown()}
        ends = list(itertools.accumulate((end for _, end in found.offsets), max))
        lost, before, tokens = 0, 0, []
        for i, (number, token, end) in enumerate(zip(found.ids, found.tokens, ends, strict=True)):
            tokens.append("" if number in silent else token)
            if i + 1 == len(ends) or ends[i + 1] > end > 0:  # tokens that end together are parts of one character
                spelt = _spelt(tokens) if before else _spelt(tokens).removeprefix(" ")  # decode takes the first back
                lost += len(text[before:end].encode()) - _common(text[before:end], spelt)
                before, tokens = end, []
        return lost + len(text[before:].encode())

    def _unknown(self) -> int | None:
        model = json.loads(self._tokenizer.to_str())["model"]
        if "unk_id" in model:
            return model["unk_id"]
        token = model.get("unk_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    def save(self, path: Path) -> None:
        with appearing(Path(path)) as draft:
            self._tokenizer.save(str(draft))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        import tokenizers

        try:
            return cls(tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8")))
        except Problem:
            raise
        except OSError as error:
            raise Problem(f"{path} cannot be read ({error.strerror}); run what writes it") from None
        except Exception:  # the library raises plain Exceptions
            raise Problem(f"{path} is no whole tokenizer; run what writes it again") from None


def _spelt(tokens: Sequence[str]) -> str:
    """What SentencePiece's tokens spell: bytes <0x00> .. <0xFF> joined to characters, a space for each of its own."""
    data = b"".join(
        bytes([int(token[3:5], 16)]) if re.fullmatch("<0x[0-9A-F]{2}>", token) else token.replace(_SPACE, " ").encode()
        for token in tokens
    )
    return data.decode(errors="replace")


def _common(text: str, other: str) -> int:
    """The UTF-8 bytes of the longest common subsequence, by bytes, of two short strings."""
    if text == other:
        return len(text.encode())
    row = [0] * (len(other) + 1)
    for character in text:
        size, diagonal = len(character.encode()), 0
        for j, found in enumerate(other, 1):
            best = diagonal + size if found == character else max(row[j], row[j - 1])
            diagonal, row[j] = row[j], best
    return row[-1]


def characters(works: Sequence[str], often: int = OFTEN) -> Tokenizer:
    """A token a character seen at least `often` times in the works; all others are spelt in UTF-8 bytes."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    counts = Counter()
    for work in _some(works):
        counts.update(work)
    known = sorted(character for character, count in counts.items() if count >= often)
    vocabulary = {token: i for i, token in enumerate([START, *(f"<0x{byte:02X}>" for byte in range(256)), *known])}
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    # Every character is encoded by itself, so the cuts change nothing but the time.
    made.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("[\\s\\S]{1,256}"), "isolated")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([START])
    return Tokenizer(made)


def bpe(works: Sequence[str], size: int) -> Tokenizer:
    """Byte-level BPE of at most `size` tokens: START, the 256 bytes, and the merges most frequent in the works."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if size < 257:
        raise Problem(f"bpe needs a vocabulary of at least 257 (256 bytes and the start of a work), not {size}")
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        _some(works),
        trainers.BpeTrainer(vocab_size=size, special_tokens=[START], initial_alphabet=alphabet, show_progress=False),
    )
    return Tokenizer(made)


def _some(works: Sequence[str]) -> Sequence[str]:
    if not any(works):
        raise Problem("a tokenizer is made of a corpus that holds text; this one is empty")
    return works


def pretrained(name: str) -> Tokenizer:
    """A tokenizer made by others: "mistral-32k" (carried by a package) or "camembert-base" (of the hub).

    Problem for another name, or when it cannot be reached.
    """
    made = {"mistral-32k": _mistral, "camembert-base": _camembert}
    if name not in made:
        raise unknown("pretrained tokenizer", name, made)
    return made[name]()


def _mistral() -> Tokenizer:
    file = fetch(_MISTRAL, cache_folder())
    try:
        import sentencepiece
    except ImportError:
        raise Problem("the tokenizer mistral-32k is read with the package sentencepiece; install it") from None
    return Tokenizer(_converted(sentencepiece.SentencePieceProcessor(model_file=str(file))))


def _converted(model: "sentencepiece.SentencePieceProcessor") -> "tokenizers.Tokenizer":
    """The same tokenizer in the library's form: BPE whose merges come in the order of the pieces' scores."""
    import tokenizers
    from tokenizers import decoders, models, normalizers

    vocabulary = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    special = [piece for piece, i in vocabulary.items() if model.is_control(i) or model.is_unknown(i)]
    plain = {piece: i for piece, i in vocabulary.items() if piece not in special and not model.is_byte(i)}
    merges = []
    for piece in sorted(plain, key=lambda piece: -model.get_score(plain[piece])):
        halves = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        known = [(left, right) for left, right in halves if left in plain and right in plain]
        merges += sorted(known, key=lambda pair: (plain[pair[0]], plain[pair[1]]))
    unknown = model.id_to_piece(model.unk_id())
    made = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    spaces = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(spaces)
    made.add_special_tokens(special)
    return made


def _camembert() -> Tokenizer:
    import huggingface_hub

    repository, revision = _CAMEMBERT
    try:
        return Tokenizer.load(Path(huggingface_hub.hf_hub_download(repository, "tokenizer.json", revision=revision)))
    except Problem:
        raise
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(
            f"the tokenizer of {repository} could not be fetched from the hub ({words[0]}); connect"
        ) from None


def ids(tokenizer: Tokenizer, works: Iterable[str]) -> torch.Tensor:
    """The works as int64 [n]: START, the first work, START, the second ..."""
    parts = [np.array([tokenizer.start, *tokenizer.encode(work)], dtype=np.int64) for work in works]
    if not parts:
        raise Problem("there is no work to encode; the split is empty")
    return torch.from_numpy(np.concatenate(parts))


class Windows:
    """Windows int64 [batch, context + 1] of a text: the last token of one is the first of the next, so that every
    token is foretold at most once an epoch. Each epoch cuts at another offset and has an order of its own."""

    def __init__(self, tokens: torch.Tensor, context: int, batch: int, seed: int):
        _fits(tokens, context, 1)
        self.tokens, self.context, self.batch, self.seed = tokens, context, batch, seed
        # One window less than fit, where there are several, leaves room for any offset.
        self.n = max(1, (len(tokens) - context) // context)
        self.batches = Batches(self.n, batch, seed)
        self._inside = torch.arange(context + 1)

    def at(self, i: int) -> torch.Tensor:
        """The windows [batch, context + 1] of step i = 0, 1, 2 ...: the same whenever asked."""
        rows = self.batches.at(i)
        epochs = (i * self.batch + torch.arange(self.batch)) // self.n
        found, which = torch.unique(epochs, return_inverse=True)
        offsets = torch.tensor([self.offset(epoch) for epoch in found.tolist()])
        starts = rows * self.context + offsets[which]
        return self.tokens[starts[:, None] + self._inside]

    def offset(self, epoch: int) -> int:
        """Where the first window of an epoch begins, from 0 to context - 1."""
        room = min(self.context, len(self.tokens) - self.n * self.context)
        return int(np.random.default_rng([self.seed, epoch, 1]).integers(room))

    def steps(self, epochs: float) -> int:
        """The number of steps that see the text `epochs` times, rounded up."""
        return self.batches.steps(epochs)


class Lanes:
    """Steps int64 [batch, context + 1] through a text cut into `batch` lanes, each read in order: a step begins with
    the token that the step before ended with, so that a network's state can be carried over."""

    def __init__(self, tokens: torch.Tensor, context: int, batch: int):
        _fits(tokens, context, batch)
        length = len(tokens) // batch
        self.tokens, self.context = tokens[: batch * length].view(batch, length), context
        self.n = (length - 1) // context  # steps until the lanes end

    def at(self, i: int) -> torch.Tensor:
        """The tokens [batch, context + 1] of step i = 0, 1, 2 ..."""
        if i < 0:
            raise Problem(f"steps are counted from 0; there is no step {i}")
        start = i % self.n * self.context
        return self.tokens[:, start : start + self.context + 1].clone()

    def fresh(self, i: int) -> bool:
        """Whether step i begins again at the lanes' heads, where no state is carried over."""
        return i % self.n == 0

    def steps(self, epochs: float) -> int:
        """The number of steps that read the lanes `epochs` times, rounded up."""
        return math.ceil(epochs * self.n)


def _fits(tokens: torch.Tensor, context: int, batch: int) -> None:
    if context < 1 or batch < 1:
        raise Problem(f"a context and a batch of at least 1 are needed, not {context} and {batch}")
    if len(tokens) // batch < context + 1:
        lanes = f" in each of {batch} lanes" if batch > 1 else ""
        raise Problem(
            f"a context of {context} needs a text of {context + 1} tokens{lanes}; this one has {len(tokens) // batch}"
        )
