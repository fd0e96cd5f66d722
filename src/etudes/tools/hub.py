"""Encoders of the Hugging Face hub by name: safetensors alone, no code of the hub's, a revision that is fixed.

A name is one of PINNED, "owner/name@revision" for any other, or a folder where save_pretrained wrote a network. The
library comes with the extra `text`.
"""

import re
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem
from etudes.data.sources.reach import hub_answers, offline

PINNED = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "google-bert/bert-large-uncased": "6da4b6a26a1877e173fca3225479512db81a5e5b",
    "FacebookAI/roberta-base": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    "FacebookAI/roberta-large": "722cf37b1afa9454edce342e7895e588b6ff1d59",
    "FacebookAI/xlm-roberta-base": "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089",
    "FacebookAI/xlm-roberta-large": "c23d21b0620b635a76227c604d44e43a9f0ee389",
    "microsoft/deberta-v3-base": "8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
    "microsoft/deberta-v3-large": "64a8c8eab3e352a784c658aef62be1662607476f",
}
HEADS = re.compile(r"(^|\.)pooler\.")  # weights above the last layer, which a checkpoint may lack


def hub_address(name: str) -> tuple[str, str | None]:
    """(owner/name, revision), or (folder, None). Raises Problem for a name without a revision to hold it to."""
    where, _, revision = name.partition("@")
    if Path(where).is_dir():
        return where, None
    revision = revision or PINNED.get(where, "")
    if where.count("/") != 1 or not revision:
        raise Problem(
            f"'{name}' is no encoder of a fixed revision; take one of {', '.join(PINNED)}, or write owner/name@revision"
        )
    return where, revision


def hub_encoder(name: str, pretrained: bool = True) -> tuple[Any, Any]:
    """(network, tokenizer) of the hub, the network in evaluation mode and without what stands above its last layer;
    not `pretrained`: of the same class and sizes, with first weights.

    Raises Problem where it cannot be reached, has no safetensors, needs code of its own, or lacks weights.
    """
    where, revision = hub_address(name)
    fixed: dict[str, Any] = {"trust_remote_code": False}
    if revision:  # without an answer the library would ask again for half a minute
        fixed |= {"revision": revision, "local_files_only": offline() or not hub_answers()}
    try:
        import transformers
    except ImportError:
        raise Problem(f"{where} runs on the library transformers; install etudes[text]") from None
    lacking: list[str] = []
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **fixed)
        if pretrained:
            network, facts = transformers.AutoModel.from_pretrained(
                where, use_safetensors=True, output_loading_info=True, **fixed
            )
            lacking = sorted(key for key in facts["missing_keys"] if not HEADS.search(key))
        else:
            config = transformers.AutoConfig.from_pretrained(where, **fixed)
            network = transformers.AutoModel.from_config(config, trust_remote_code=False)
    except Exception as error:  # the library raises a dozen unrelated kinds
        raise Problem(f"{where} cannot be had ({_reason(error)}); {_remedy(error)}") from None
    if lacking:
        raise Problem(f"{where} lacks {lacking[0]} and {len(lacking) - 1} more of its weights; take another revision")
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    return network.float().eval(), tokenizer


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0].rstrip(".:") or type(error).__name__


def _remedy(error: Exception) -> str:
    """What to do: of DeBERTa, for one, the main branch has a pickle alone, and the hub's robot offers another."""
    if "safetensors" in str(error):
        return "weights are read from safetensors alone: take a revision that has them, as in owner/name@refs/pr/1"
    if "trust_remote_code" in str(error):
        return "no code of the hub is run: take another encoder"
    return "connect to the hub, fill its cache beforehand, or take another encoder"
