"""Pictures of which parts are marked or read: segmentation and handwriting."""

from etudes.data.sources.source import Source

DECLARED = (
    Source(
        name="nuclei",
        task="segmentation",
        hub="data-science-bowl-2018/stage1-nuclei",
        revision="",
        licence="CC0-1.0",
        megabytes=8,
        splits={"train": 531, "test": 133},
        columns=("id", "image", "mask", "instances", "n_nuclei", "stain"),
    ),
    Source(
        name="chase-db1",
        task="segmentation",
        hub="retina/chase_db1",
        revision="",
        licence="CC-BY-4.0 (not verified)",
        megabytes=0.7,
        splits={"train": 20, "test": 8},
        columns=("patient", "eye", "image", "mask", "mask_observer2"),
        says="split by patient",
    ),
    Source(
        name="membrane",
        task="segmentation",
        hub="isbi/em-2012-membrane",
        revision="",
        licence="research (not verified)",
        megabytes=1.8,
        splits={"train": 24, "test": 6},
        columns=("slice", "image", "mask"),
        says="slices of one animal, neighbours alike",
    ),
    Source(
        name="handwriting",
        task="handwriting",
        hub="htr-united/cremma-french-handwriting-lines",
        revision="",
        licence="CC-BY-4.0",
        megabytes=12,
        splits={"train": 3060, "validation": 482, "test": 388},
        columns=("image", "text", "source", "document", "page", "line"),
        says="split by page; hold out writers by document",
    ),
)
