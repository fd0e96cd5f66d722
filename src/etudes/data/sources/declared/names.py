"""Names of people, each with the language that it comes from."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="surnames",
        task="names",
        hub="spro/names",
        revision="",
        licence="MIT",
        megabytes=0.3,
        splits={"train": 20050},
        columns=("name", "language"),
        says="surnames of 18 languages as PyTorch's tutorials have them: many lines are repeated, in Arabic 19 of 20, "
        "and some names stand in several languages",
        upstream="github.com/spro/practical-pytorch at c520c52: its folder data/names, a file a language",
    ),
    Source(
        name="drawn-names",
        task="names",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0,
        splits={},
        columns=("name", "language"),
        embedded=True,
        says="made-up names of six made-up languages in three families: syllables of the family, endings of the "
        "language, drawn by a written-down process",
    ),
)
