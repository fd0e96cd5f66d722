"""Sentences with one class each."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="financial-phrasebank",
        task="sentences",
        hub="takala/financial_phrasebank",
        revision="",
        licence="CC-BY-NC-SA-3.0",
        megabytes=0.6,
        splits={"train": 4846},
        columns=("sentence", "label"),
        classes=("negative", "neutral", "positive"),
        originals="FinancialPhraseBank-v1.0",
        says="sentences of financial news, whose mood 5 to 8 annotators judged for an investor",
        upstream="four Parquet folders sentences_50agree to sentences_allagree, or FinancialPhraseBank-v1.0.zip of its "
        "authors (Malo et al. 2014, arXiv:1307.5336)",
    ),
    Source(
        name="drawn-sentences",
        task="sentences",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0.1,
        splits={"train": 900},
        columns=("sentence", "label"),
        classes=("negative", "neutral", "positive"),
        embedded=True,
        says="made-up sentences of business news, good or bad by whether what rose or fell should",
    ),
)
