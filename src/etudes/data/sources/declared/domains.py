"""Sets of pictures in several domains; what a source calls its classes are the domains here."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="pacs",
        task="domains",
        hub="flwrlabs/pacs",
        revision="",
        licence="none declared (known as research, non-commercial)",
        megabytes=14,
        splits={"train": 9991},
        columns=("image", "domain", "label"),
        classes=("photo", "art_painting", "cartoon", "sketch"),
        side=64,
        says="pictures of 64 px, resized from 227 and kept as JPEG",
        upstream="Li et al. 2017, ICCV: 7 classes in 4 domains, a row a picture",
    ),
    Source(
        name="digit-domains",
        task="domains",
        hub="",
        revision="",
        licence="BSD-3-Clause",
        megabytes=0.1,
        splits={"train": 1797},
        columns=("image", "domain", "label"),
        classes=("upright", "inverted", "mirrored", "edges"),
        embedded=True,
    ),
)
