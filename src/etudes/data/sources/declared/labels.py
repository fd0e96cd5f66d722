"""Texts with many labels each: extreme classification."""

from etudes.data.sources.source import Source

DECLARED = (
    *(
        Source(
            name=f"{place}-{kind}",
            task="labels",
            hub="debian/xmc-packages" if place == "debian" else "",
            revision="",
            licence="each package's own free licence; debtags public",
            megabytes=megabytes if place == "debian" else 0,
            splits={"train": train, "test": test} if place == "debian" else {},
            columns=("source", "content", "labels"),
            config=kind,
            says=f"descriptions of {whose} packages, labelled with {labels}; split by source package",
            upstream="Packages and Translation-en of Debian 12, main, amd64" if place == "debian" else "",
        )
        for place, whose in (("debian", "Debian 12's"), ("apt", "this Debian machine's"))
        for kind, megabytes, train, test, labels in (
            ("depends", 5, 41028, 5051, "the packages that they depend on, if of 5 to 3,000 uses"),
            ("debtags", 3, 27109, 3191, "their debtags, if of 5 uses or more"),
        )
    ),
    Source(
        name="eurlex-4k",
        task="labels",
        hub="xmc/eurlex-4k",
        revision="",
        licence="European Union: reuse with credit",
        megabytes=20,
        splits={"train": 15539, "test": 3809},
        columns=("X", "Y"),
        says="laws of the European Union with EUROVOC descriptors, from files in the usual formats",
    ),
    Source(
        name="amazon-670k",
        task="labels",
        hub="xmc/amazon-670k",
        revision="",
        licence="research only",
        megabytes=600,
        splits={"train": 490449, "test": 153025},
        columns=("X", "Y"),
        says="products with those bought together, from files in the usual formats",
    ),
    Source(
        name="lf-amazontitles-131k",
        task="label-texts",
        hub="xmc/lf-amazontitles-131k",
        revision="",
        licence="research only",
        megabytes=100,
        splits={"train": 294805, "test": 134835},
        columns=("X", "Y", "labels' X", "filter"),
        says="titles of products with those bought together, which have titles too, from files in the LF layout; pairs "
        "of a product with itself are not counted",
    ),
    Source(
        name="topics",
        task="labels",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0,
        splits={},
        columns=("group", "content", "labels"),
        embedded=True,
        says="generated documents of 12 topics with 8 labels each; split by group",
    ),
)
