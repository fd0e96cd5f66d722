"""What is played with: one demo a module, named after its study. Importing this imports neither gradio nor torch."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import fastapi
    import gradio

UPLOAD = 10 * 1024 * 1024  # bytes of the largest file that is taken
KEEP = (600, 3600)  # seconds between two sweeps of uploaded files, and the age from which they are swept away


@dataclass(frozen=True)
class Demo:
    slug: str
    title: str
    says: str
    study: str  # on whose page it is shown
    build: Callable[[Path], "gradio.Blocks"]  # root of the runs -> the interface

    def page(self, root: Path) -> "gradio.Blocks":
        """The interface below a line that leads to its study."""
        blocks = self.build(root)
        import gradio

        ways = f'<a href="/demos">Demos</a> · study <a href="/study/{self.study}">{self.study}</a>'
        with blocks:
            gradio.HTML(f'<p class="kicker">{ways}</p>')
        blocks.children.insert(0, blocks.children.pop())
        return blocks


def options() -> dict[str, Any]:
    """How a demo is mounted: uploads of at most 10 MB, this machine alone, no tracebacks, the pages' look."""
    from etudes.web.demos import look

    told = {"show_error": False, "footer_links": [], "run_history": False, "mcp_server": False, "ssr_mode": False}
    shown = {"theme": look.theme(), "head": look.head()}
    return {**told, **shown, "server_name": "127.0.0.1", "max_file_size": UPLOAD}


def mount(app: "fastapi.FastAPI", demo: Demo, root: Path) -> "fastapi.FastAPI":
    """The app with the demo at /demo/SLUG."""
    blocks = demo.page(root)
    import gradio

    return gradio.mount_gradio_app(app, blocks, f"/demo/{demo.slug}", **options())


def _builder(module: str) -> Callable[[Path], "gradio.Blocks"]:
    def build(root: Path) -> "gradio.Blocks":
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing is told to anybody
        blocks = importlib.import_module(f"{__name__}.{module}").build(root.absolute())
        blocks.queue(max_size=16, default_concurrency_limit=1, api_open=False)
        return blocks

    return build


DEMOS: tuple[Demo, ...] = (
    Demo(
        "generation",
        "Language networks write",
        "Continue a text under two settings side by side, and see how probable each piece was.",
        "char-lstm",
        _builder("generation"),
    ),
    Demo(
        "edge-of-stability",
        "The edge of stability",
        "Choose a step size and watch sharpness climb to 2 / step size while a small network trains.",
        "edge-of-stability",
        _builder("edge_of_stability"),
    ),
    Demo(
        "double-descent",
        "The peak of double descent",
        "Move examples, noise and penalty, and see where the exact test error peaks and what removes the peak.",
        "double-descent",
        _builder("double_descent"),
    ),
    Demo(
        "symmetric-ce",
        "Wrong labels",
        "Choose the share of wrong labels and watch two losses learn them, or not, side by side.",
        "symmetric-ce",
        _builder("symmetric_ce"),
    ),
    Demo(
        "ddpm-sdedit",
        "Redraw a sketch",
        "Paint over a picture; a diffusion network redraws all of it, or only what you painted over.",
        "ddpm-sdedit",
        _builder("ddpm_sdedit"),
    ),
    Demo(
        "wgan-gp",
        "A generator and its critic",
        "Walk between two generated pictures, and watch a critic's landscape while it is trained.",
        "wgan-gp",
        _builder("wgan_gp"),
    ),
    Demo(
        "cifar",
        "What is in this picture?",
        "A small classifier of ten kinds of things looks at a picture of yours.",
        "cifar-speed",
        _builder("cifar"),
    ),
    Demo(
        "mixup",
        "Between two pictures",
        "Mix two pictures and compare a network trained on mixtures with one that never saw any.",
        "mixup",
        _builder("mixup"),
    ),
    Demo(
        "rotnet",
        "Neighbours of a picture",
        "See which pictures a network that learnt turns, classes or nothing takes for alike, and turn yours.",
        "rotnet",
        _builder("rotnet"),
    ),
    Demo(
        "colorization",
        "Colours for grey pictures",
        "Two networks colour a picture of yours: one weighs all colours, one shows their mean.",
        "colorization",
        _builder("colorization"),
    ),
    Demo(
        "unet",
        "Segment a picture",
        "A network gives every pixel of a picture a class; lay its answer over it and compare it with the truth.",
        "unet",
        _builder("unet"),
    ),
    Demo(
        "unlearning",
        "What unlearning leaves",
        "A map of what networks that were made to forget 6 still hold of it; touch a digit for their answers.",
        "unlearning",
        _builder("unlearning"),
    ),
    Demo(
        "audio-task-vectors",
        "Sliders for task vectors",
        "Add what a network learnt of digits, sounds and notes to its weights or take it away; see what it knows.",
        "audio-task-vectors",
        _builder("audio_task_vectors"),
    ),
    Demo(
        "ocr-ctc",
        "Read a line",
        "Write digits on a pad or upload a line; see what a network reads in each column, and how that becomes a text.",
        "ocr-ctc",
        _builder("ocr_ctc"),
    ),
    Demo(
        "names",
        "A name's languages, letter by letter",
        "Type a surname and see, after each of its letters, which languages a network takes it to be of.",
        "names",
        _builder("names"),
    ),
    Demo(
        "translation",
        "Attention of a translation",
        "Type an English sentence; see it in French, and which words a network looked at for each that it wrote.",
        "translation",
        _builder("translation"),
    ),
    Demo(
        "lossy-text",
        "Compress a sentence",
        "Send a sentence as ever fewer bits of its embedding, let a network write it anew, and see what is lost.",
        "lossy-text",
        _builder("lossy_text"),
    ),
    Demo(
        "roberta-fr",
        "Fill the gap",
        "Leave a gap in a French sentence; see the five pieces that a network would write there, with their odds.",
        "roberta-fr",
        _builder("roberta_fr"),
    ),
    Demo(
        "just-one",
        "Just One against bots",
        "Guess a word from the clues of bots, or give the clue yourself; clues that are alike vanish.",
        "just-one",
        _builder("just_one"),
    ),
    Demo(
        "doom-dqn",
        "Doom, played by a network",
        "Watch an agent that learnt from pixels, action by action.",
        "doom-dqn",
        _builder("doom_dqn"),
    ),
    Demo(
        "rag",
        "Ask your documents",
        "Upload documents, ask, and open the very passages that the answer rests on.",
        "rag",
        _builder("rag"),
    ),
)
