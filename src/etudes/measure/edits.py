"""How far texts are from what they should say: errors of characters and of words."""

from collections.abc import Sequence

from etudes.core.errors import Problem

KINDS = ("substituted", "deleted", "inserted")


def character_error_rate(read: Sequence[str], references: Sequence[str]) -> float:
    """The Levenshtein distances of all texts over the references' characters together, at least 0; above 1 where much
    is inserted. Not the mean of each text's own rate, which short texts would rule. Raises Problem without characters.
    """
    return sum(_counts(read, references).values()) / _length(references)


def word_error_rate(read: Sequence[str], references: Sequence[str]) -> float:
    """As `character_error_rate`, of words, which white space divides."""
    pairs = [[text.split() for text in texts] for texts in (read, references)]
    return sum(_counts(*pairs).values()) / _length(pairs[1])


def errors_by_kind(read: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The character error rate in parts: characters that are substituted, deleted (missing) and inserted."""
    length = _length(references)
    return {kind: count / length for kind, count in _counts(read, references).items()}


def confusions(read: Sequence[str], references: Sequence[str]) -> dict[tuple[str, str], int]:
    """{(what stood there, what was read): how often} of characters, the commonest first; "" for nothing."""
    from collections import Counter

    found: Counter[tuple[str, str]] = Counter()
    for ours, theirs in zip(read, references, strict=True):
        for kind, i, j in _edits(ours, theirs):
            found["" if kind == "insert" else theirs[i], "" if kind == "delete" else ours[j]] += 1
    return dict(found.most_common())


def _counts(read: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, int]:
    if len(read) != len(references):
        raise Problem(f"{len(read)} texts cannot be compared with {len(references)} references")
    counts = dict.fromkeys(KINDS, 0)
    names = dict(zip(("replace", "delete", "insert"), KINDS, strict=True))
    for ours, theirs in zip(read, references, strict=True):
        for kind, _, _ in _edits(ours, theirs):
            counts[names[kind]] += 1
    return counts


def _edits(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, int, int]]:
    """The fewest edits that make the reference into what was read: kind, place in the reference, place in the text."""
    from rapidfuzz.distance import Levenshtein

    return [(edit.tag, edit.src_pos, edit.dest_pos) for edit in Levenshtein.editops(theirs, ours)]


def _length(references: Sequence[Sequence[str]]) -> int:
    length = sum(map(len, references))
    if not length:
        raise Problem("references without a character have no error rate")
    return length
