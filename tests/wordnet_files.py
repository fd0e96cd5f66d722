"""A folder of WordNet's own files, small enough to know by heart."""

from pathlib import Path

LICENCE = "  1 This software and database is being provided to you, the LICENSEE,  \n"
SETS = {  # part of speech -> sets of synonyms, as data files have them
    "noun": [["universe", "world", "cosmos"], ["human", "man", "human_being"], ["sea", "ocean"]],
    "verb": [["love", "enjoy"], ["run", "go"], ["see", "visualize"]],
    "adj": [["large", "big(p)", "great"]],
    "adv": [["well", "good"]],
}
EXCEPTIONS = {"noun": "men man\n", "verb": "saw see\nran run\n", "adj": "", "adv": ""}


def write_wordnet(folder: Path) -> Path:
    """WordNet's files, in the layout of wndb(5WN), with the few sets above."""
    folder.mkdir(parents=True)
    for kind, sets in SETS.items():
        data, senses, letter = LICENCE.encode(), {}, "r" if kind == "adv" else kind[0]
        for words in sets:
            tokens = " ".join(f"{word} 0" for word in words)
            for word in words:
                senses.setdefault(word.partition("(")[0].lower(), []).append(len(data))
            line = f"{len(data):08} 03 {letter} {len(words):02x} {tokens} 001 @ 00001740 n 0000 | a gloss; sea \n"
            data += line.encode()
        (folder / f"data.{kind}").write_bytes(data)
        lines = [
            f"{word} {letter} {len(found)} 1 @ {len(found)} 0 {' '.join(f'{at:08}' for at in found)}  \n"
            for word, found in sorted(senses.items())
        ]
        (folder / f"index.{kind}").write_text(LICENCE + "".join(lines))
        (folder / f"{kind}.exc").write_text(EXCEPTIONS[kind])
    return folder
