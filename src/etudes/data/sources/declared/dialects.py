"""Languages and dialects of Italy, most of them as translations of the same documents."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="oldi-seed",
        task="dialects",
        hub="openlanguagedata/oldi_seed",
        revision="",
        licence="CC-BY-SA-4.0",
        megabytes=3,
        splits={"train": 6193},
        columns=("id", "text", "url"),
        says="sentences of 203 articles of the English Wikipedia, translated by people into each language; split by "
        "article, in all languages alike",
        upstream="github.com/openlanguagedata/seed at d397da2 (Italian at b795bef), a folder a language",
    ),
    Source(
        name="i18n-dialects",
        task="dialects",
        hub="mediawiki/i18n-dialects",
        revision="",
        licence="GPL-2.0-or-later",
        megabytes=2,
        splits={"train": 65000},
        columns=("key", "lang", "text"),
        says="messages of MediaWiki's interface as its users translate them; split by module and first word of the "
        "message's key, in all languages alike",
        upstream="Debian's package mediawiki 1.39.17: languages/i18n and the extensions' i18n, a folder a language",
    ),
    Source(
        name="goldoni",
        task="dialects",
        hub="dracor-org/itadracor",
        revision="",
        licence="plays in the public domain; edition of Biblioteca Italiana for personal or scientific use",
        megabytes=1,
        splits={"train": 23985},
        columns=("play", "play_variety", "text"),
        says="speeches of the five plays there that are chiefly in Venetian, of 1535 to 1762; a play is a work",
        upstream="github.com/dracor-org/itadracor at e7759b7, without stage directions",
    ),
    Source(
        name="itdi-2022",
        task="dialects",
        hub="noe-eva/ITDI_2022",
        revision="",
        licence="none declared: for research, not to be passed on, and no text to train a writer on",
        megabytes=1,
        splits={"validation": 6799, "test": 11087},
        columns=("text", "label"),
        classes=("eml", "fur", "lij", "lld", "lmo", "nap", "pms", "roa-tara", "sc", "scn", "vec"),
        says="lines to be identified, of VarDial's task of 2022; no two make a text",
        upstream="github.com/noe-eva/ITDI_2022 at 7b917f5, task/",
    ),
    Source(
        name="drawn-dialects",
        task="dialects",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0.1,
        splits={"train": 60},
        columns=("text",),
        embedded=True,
        says="made-up sentences of Italian words, and the same with endings and sounds changed by a rule a dialect",
    ),
)
