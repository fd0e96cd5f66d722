"""Graphs: papers that cite each other, molecules, and packages that depend on each other."""

from etudes.data.sources.source import Source

PAPERS = "papers with the words that they hold, joined where one cites the other; features are columns of words"

DECLARED = (
    *(
        Source(
            name=name,
            task="graph",
            hub="kimiyoung/planetoid",
            revision="",
            licence="repository MIT; data of LINQS",
            megabytes=1,
            splits={"train": train, "validation": 500, "test": 1000},
            columns=("ind.*",),
            originals="kimiyoung/planetoid",
            says=f"{nodes:,} {PAPERS}",
            upstream="github.com/kimiyoung/planetoid at af6abf4: its folder data",
        )
        for name, nodes, train in (("cora", 2708, 140), ("citeseer", 3327, 120))
    ),
    *(
        Source(
            name=name,
            task="graph",
            hub="muhanzhang/DGCNN-graphs",
            revision="",
            licence="repository MIT; sets of the TU collection",
            megabytes=1,
            splits={"all": graphs},
            columns=(f"{name.upper()}.txt", "10fold_idx"),
            originals="muhanzhang/DGCNN-graphs",
            says=f"{graphs:,} {what}, one class a graph, nodes with a tag",
            upstream="github.com/muhanzhang/pytorch_DGCNN at 50f5041: its folder data",
        )
        for name, graphs, what in (
            ("mutag", 188, "molecules, mutagenic or not"),
            ("ptc", 344, "molecules, carcinogenic to rats or not"),
            ("proteins", 1113, "proteins, enzymes or not"),
            ("enzymes", 600, "enzymes of six kinds"),
        )
    ),
    Source(
        name="debian-graph",
        task="packages",
        hub="debian/xmc-packages",
        revision="",
        licence="each package's own free licence; debtags public",
        megabytes=8,
        splits={"train": 27109, "test": 3191},
        columns=("uid", "source", "content", "labels"),
        says="packages of Debian 12 with debtags, joined where one depends on the other; what more than 3,000 packages "
        "depend on has no edges",
        upstream="Packages and Translation-en of Debian 12, main, amd64",
    ),
    Source(
        name="drawn-papers",
        task="graph",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0,
        splits={},
        columns=("words", "edges", "class"),
        embedded=True,
        says="made-up papers of four subjects with words of their subject, joined more often within one",
    ),
    Source(
        name="drawn-packages",
        task="packages",
        hub="",
        revision="",
        licence="MIT",
        megabytes=0,
        splits={},
        columns=("uid", "source", "content", "labels"),
        embedded=True,
        says="made-up packages with words and tags, joined more often where a tag is shared",
    ),
)
