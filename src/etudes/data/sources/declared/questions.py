"""Questions on passages."""

from etudes.data.sources.carriers import Carrier
from etudes.data.sources.source import Source

DECLARED = (
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
