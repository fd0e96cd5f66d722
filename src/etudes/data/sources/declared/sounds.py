"""Recordings with classes."""

from etudes.data.sources.source import Source

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NOISES = (
    "dog_bark",
    "rain",
    "sea_waves",
    "baby_cry",
    "clock_tick",
    "person_sneeze",
    "helicopter",
    "chainsaw",
    "rooster",
    "fire_crackling",
)

DECLARED = (
    Source(
        name="spoken-digits",
        task="sound",
        hub="Jakobovski/free-spoken-digit-dataset",
        revision="",
        licence="CC-BY-SA-4.0",
        megabytes=11,
        splits={"train": 2700, "test": 300},
        columns=("audio", "label", "speaker", "take"),
        classes=DIGITS,
        originals="free-spoken-digit-dataset",
        says="6 speakers say each digit 50 times, takes of a speaker are near duplicates",
        upstream="github.com/Jakobovski/free-spoken-digit-dataset: its recordings, takes 0 to 4 as test",
    ),
    Source(
        name="esc10",
        task="sound",
        hub="karolpiczak/ESC-10",
        revision="",
        licence="CC-BY-3.0",
        megabytes=9,
        splits={"train": 400},
        columns=("audio", "label", "fold", "freesound_id"),
        classes=NOISES,
        originals="ESC-50-master",
        says="40 clips of 5 seconds a class; no recording is in two folds",
        upstream="github.com/karoldvl/ESC-10 at 553c8f1, resampled to 16 kHz mono",
    ),
    *(
        Source(
            name=name,
            task="sound",
            hub="",
            revision="",
            licence="MIT",
            megabytes=0,
            splits={},
            columns=("audio", "label"),
            classes=tuple(f"{kind} {k}" for k in range(10)),
            embedded=True,
            says=says,
        )
        for name, kind, says in (
            (
                "drawn-words",
                "word",
                "ten made-up words of two vowels, 6 made-up voices, 12 takes, by additive synthesis",
            ),
            ("drawn-noises", "noise", "ten kinds of noise that differ in band and beat, 20 of each, in 5 folds"),
        )
    ),
)
