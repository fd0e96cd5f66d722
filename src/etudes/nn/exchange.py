"""Our language networks as those of the transformers library, and back, with the same weights.

There a GPT is a GPT2LMHeadModel, a Llama a LlamaForCausalLM, a T5 a T5ForConditionalGeneration and a Roberta a
RobertaForMaskedLM: the same arithmetic under other names, GPT's matrices transposed and fused ones apart. The library
comes with the extra `text`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.nn.bert import LAYER
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama
from etudes.nn.roberta import EPS, Roberta
from etudes.nn.t5 import PAD, T5

GELU = ("gelu_new", "gelu_pytorch_tanh")  # the form with tanh, under its two names there


def to_transformers(model: GPT | Llama | T5 | Roberta) -> Any:
    """A LlamaForCausalLM, GPT2LMHeadModel, T5ForConditionalGeneration or RobertaForMaskedLM with the model's weights,
    copied, in evaluation mode.

    It knows no token that begins or ends a text, so that its generate() goes on as far as it is told to; but a T5's
    answers begin with PAD.
    """
    transformers = _library()
    if isinstance(model, T5):
        return _with_weights(_their_t5(transformers, model), model)
    if isinstance(model, Roberta):
        return _with_weights(_their_roberta(transformers, model), model)
    vocabulary, width = _matrix(model).shape
    sizes = {"vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": True}
    block = model.blocks[0]
    if isinstance(model, Llama):
        made = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                hidden_size=width,
                num_hidden_layers=len(model.blocks),
                num_attention_heads=block.heads,
                num_key_value_heads=block.kv_heads,
                intermediate_size=block.down.shape[1],
                max_position_embeddings=model.context,
                rope_theta=model.theta,
                rms_norm_eps=model.eps,
                **sizes,
            )
        )
    else:
        rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), model.dropout)
        made = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                n_embd=width,
                n_layer=len(model.blocks),
                n_head=block.heads,
                n_positions=model.context,
                **rates,
                **sizes,
            )
        )
    return _with_weights(made, model)


def _with_weights(made: Any, model: GPT | Llama | T5 | Roberta) -> Any:
    theirs, ours = made.state_dict(), model.state_dict()
    with torch.no_grad():
        for name, parts in _names(model).items():
            tensors = [_turned(part, theirs[part]) for part in parts]
            for tensor, values in zip(tensors, ours[name].split([len(t) for t in tensors]), strict=True):
                tensor.copy_(values)
    return made.to(_matrix(model).device).eval()


def from_transformers(source: Any) -> GPT | Llama | T5 | Roberta:
    """The GPT, Llama, T5 or Roberta with the weights of `source`, copied in float32, in evaluation mode.

    `source` is a network of one of the four kinds there, or the folder where save_pretrained wrote one in safetensors.
    Raises Problem on what our networks have no place for: scaled rotary positions, biases in a Llama, an output matrix
    of a decoder's own, T5 before its version 1.1, other activations and sizes.
    """
    theirs = _opened(Path(source)) if isinstance(source, str | Path) else source
    config = getattr(theirs, "config", None)
    makers = {"LlamaForCausalLM": _llama, "GPT2LMHeadModel": _gpt, "T5ForConditionalGeneration": _t5}
    makers["RobertaForMaskedLM"] = _roberta
    kind = type(theirs).__name__
    if kind not in makers:
        raise Problem(f"a {kind} is none of the networks that can be taken over: {', '.join(makers)}")
    wrong = _unlike(config, kind)
    if wrong:
        raise Problem(f"this {kind} cannot be taken over: {wrong}, for which etudes.nn has no place")
    model, weights = makers[kind](config), theirs.state_dict()
    with torch.no_grad():
        ours = model.state_dict()
        for name, parts in _names(model).items():
            ours[name].copy_(torch.cat([_turned(part, weights[part]) for part in parts]))
        if isinstance(model, Roberta):  # all tokens are of the first segment, whose vector ours adds to the positions
            places = weights["roberta.embeddings.position_embeddings.weight"][config.pad_token_id + 1 :]
            segment = weights["roberta.embeddings.token_type_embeddings.weight"][0]
            model.position_embedding.weight.copy_(places + segment)
    return model.to(theirs.device).eval()


def _llama(config: Any) -> Llama:
    return Llama(
        config.vocab_size,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.intermediate_size,
        config.max_position_embeddings,
        _rope(config)["rope_theta"],
        config.rms_norm_eps,
    )


def _gpt(config: Any) -> GPT:
    return GPT(config.vocab_size, config.n_embd, config.n_layer, config.n_head, config.n_positions, config.resid_pdrop)


def _t5(config: Any) -> T5:
    sizes = (config.vocab_size, config.d_model, config.num_layers, config.num_heads, config.d_kv, config.d_ff)
    with torch.device("meta"):  # no first values, which take longer than the weights
        model = T5(*sizes)
    return model.to_empty(device="cpu")


def _their_t5(transformers: Any, model: T5) -> Any:
    """A T5ForConditionalGeneration of the model's sizes, of version 1.1: its output has a matrix of its own."""
    vocabulary, width = model.head.weight.shape
    block = model.encoder.blocks[0]
    config = transformers.T5Config(
        vocab_size=vocabulary,
        d_model=width,
        num_layers=len(model.encoder.blocks),
        num_heads=block.own.heads,
        d_kv=block.own.q.out_features // block.own.heads,
        d_ff=block.up.out_features,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        eos_token_id=None,
    )
    config.tie_word_embeddings = False  # transformers 5 keeps the argument for the scale of the output alone
    made = transformers.T5ForConditionalGeneration(config)
    made.set_input_embeddings(made.shared)  # one for both halves
    return made


def _roberta(config: Any) -> Roberta:
    return Roberta(
        config.vocab_size,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.max_position_embeddings - config.pad_token_id - 1,  # theirs begin behind the padding's number
        config.hidden_dropout_prob,
        config.pad_token_id,
    )


def _their_roberta(transformers: Any, model: Roberta) -> Any:
    """A RobertaForMaskedLM of the model's sizes, with its positions: theirs begin behind the padding's number."""
    (vocabulary, width), first = model.embedding.weight.shape, model.pad + 1
    config = transformers.RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=len(model.blocks),
        num_attention_heads=model.blocks[0].heads,
        intermediate_size=4 * width,
        max_position_embeddings=first + model.context,
        type_vocab_size=1,
        layer_norm_eps=EPS,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.dropout,
        pad_token_id=model.pad,
        bos_token_id=None,
        eos_token_id=None,
    )
    made = transformers.RobertaForMaskedLM(config)
    with torch.no_grad():
        places = made.roberta.embeddings.position_embeddings.weight
        places[:first] = 0
        places[first:] = model.position_embedding.weight
        made.roberta.embeddings.token_type_embeddings.weight.zero_()
    return made


def _rope(config: Any) -> dict[str, Any]:
    """How a Llama's positions turn; transformers 4 keeps this in two fields."""
    scaling = getattr(config, "rope_scaling", None) or {}
    return {
        "rope_theta": getattr(config, "rope_theta", None),
        **scaling,
        **(getattr(config, "rope_parameters", {}) or {}),
    }


def _unlike(config: Any, kind: str) -> str:
    """What keeps a network of transformers from being one of ours, in words; "" if nothing does."""
    if kind == "LlamaForCausalLM":
        rope = _rope(config)
        turns = rope.get("rope_type", rope.get("type", "default"))
        found = {
            f"its rotary positions are scaled ({turns})": turns != "default",
            "its projections have biases": config.attention_bias or config.mlp_bias,
            f"its activation is {config.hidden_act}": config.hidden_act != "silu",
            f"its heads are {config.head_dim} wide": config.head_dim * config.num_attention_heads != config.hidden_size,
            "it drops attention weights": config.attention_dropout != 0,
        }
    elif kind == "T5ForConditionalGeneration":
        layout = (config.relative_attention_num_buckets, config.relative_attention_max_distance)
        scaled = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)
        found = {
            f"its layer is {config.feed_forward_proj}": config.feed_forward_proj != "gated-gelu",
            "its output's matrix is the embedding's": scaled,
            "its halves differ in depth": config.num_layers != config.num_decoder_layers,
            f"its distances fall into {layout[0]} buckets up to {layout[1]}": layout != (32, 128),
            f"its norms add {config.layer_norm_epsilon}": config.layer_norm_epsilon != 1e-6,
        }
    elif kind == "RobertaForMaskedLM":
        rates = {config.hidden_dropout_prob, config.attention_probs_dropout_prob}
        hidden = config.intermediate_size
        found = {
            f"its activation is {config.hidden_act}": config.hidden_act != "gelu",
            f"it is {hidden} wide between its layers": hidden != 4 * config.hidden_size,
            "its dropouts differ": len(rates) > 1,
            f"its norms add {config.layer_norm_eps}": config.layer_norm_eps != EPS,
            "it sees only what comes before": config.is_decoder,
        }
    else:
        rates = {config.embd_pdrop, config.attn_pdrop, config.resid_pdrop}
        hidden = config.n_inner or 4 * config.n_embd
        found = {
            f"its activation is {config.activation_function}": config.activation_function not in GELU,
            f"it is {hidden} wide between its layers": hidden != 4 * config.n_embd,
            "its dropouts differ": len(rates) > 1,
            f"its norms add {config.layer_norm_epsilon}": config.layer_norm_epsilon != 1e-5,
            "it scales scores by the layer": config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights,
            "it attends to another text": config.add_cross_attention,
        }
    if kind != "T5ForConditionalGeneration":
        found["its output has a matrix of its own"] = not config.tie_word_embeddings
    return next((words for words, is_so in found.items() if is_so), "")


def _names(model: GPT | Llama | T5 | Roberta) -> dict[str, tuple[str, ...]]:
    """Our name of each tensor -> theirs, several where ours has them under each other; a Roberta's positions aside."""
    if isinstance(model, Roberta):
        return _roberta_names(model)
    if isinstance(model, T5):
        return {name: (_t5_name(name),) for name in model.state_dict()}
    if isinstance(model, Llama):
        names = {"embedding": ("model.embed_tokens.weight",), "norm": ("model.norm.weight",)}
        layer = {
            "norm1": ("input_layernorm",),
            "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "out": ("self_attn.o_proj",),
            "norm2": ("post_attention_layernorm",),
            "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
            "down": ("mlp.down_proj",),
        }
        for i in range(len(model.blocks)):
            for ours, theirs in layer.items():
                names[f"blocks.{i}.{ours}"] = tuple(f"model.layers.{i}.{part}.weight" for part in theirs)
        return names
    names = {"embedding.weight": ("transformer.wte.weight",), "position_embedding.weight": ("transformer.wpe.weight",)}
    layer = {"norm1": "ln_1", "qkv": "attn.c_attn", "out": "attn.c_proj"}
    layer |= {"norm2": "ln_2", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = (f"transformer.ln_f.{kind}",)
        for i in range(len(model.blocks)):
            for ours, theirs in layer.items():
                names[f"blocks.{i}.{ours}.{kind}"] = (f"transformer.h.{i}.{theirs}.{kind}",)
    return names


def _t5_name(name: str) -> str:
    """Their name of a tensor of our T5: a block there is a list of two or three layers."""
    last = 2 if name.startswith("decoder") else 1  # the place of the gated layer
    parts = {
        "embedding": "shared",
        "head": "lm_head",
        ".distances": ".block.0.layer.0.SelfAttention.relative_attention_bias",
        ".blocks.": ".block.",
        ".norm1": ".layer.0.layer_norm",
        ".own": ".layer.0.SelfAttention",
        ".norm2": ".layer.1.layer_norm",
        ".other": ".layer.1.EncDecAttention",
        ".norm3": f".layer.{last}.layer_norm",
        ".gate": f".layer.{last}.DenseReluDense.wi_0",
        ".up": f".layer.{last}.DenseReluDense.wi_1",
        ".down": f".layer.{last}.DenseReluDense.wo",
        "r.norm": "r.final_layer_norm",
        ".out": ".o",
    }
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name


def _roberta_names(model: Roberta) -> dict[str, tuple[str, ...]]:
    names = {"embedding.weight": ("roberta.embeddings.word_embeddings.weight",), "bias": ("lm_head.bias",)}
    for kind in ("weight", "bias"):
        names[f"norm.{kind}"] = (f"roberta.embeddings.LayerNorm.{kind}",)
        names[f"dense.{kind}"] = (f"lm_head.dense.{kind}",)
        names[f"head_norm.{kind}"] = (f"lm_head.layer_norm.{kind}",)
        for i in range(len(model.blocks)):
            for ours, theirs in LAYER.items():
                names[f"blocks.{i}.{ours}.{kind}"] = tuple(f"roberta.encoder.layer.{i}.{t}.{kind}" for t in theirs)
    return names


def _turned(name: str, tensor: Tensor) -> Tensor:
    """The tensor, as [out, in] where it is a matrix of GPT-2, which has them as [in, out]."""
    return tensor.t() if ".c_" in name and tensor.ndim == 2 else tensor


def _matrix(model: GPT | Llama | T5 | Roberta) -> Tensor:
    return model.embedding if isinstance(model, Llama) else model.embedding.weight


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise Problem(f"this needs the transformers library ({error}); pip install 'etudes[text]'") from None
    return transformers


def _opened(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise Problem(f"{folder} has no config.json; name the folder of a network that save_pretrained wrote")
    try:
        library = _library()
        kinds = library.AutoConfig.from_pretrained(folder, local_files_only=True).architectures or ()
        auto = library.AutoModelForSeq2SeqLM if "T5ForConditionalGeneration" in kinds else library.AutoModelForCausalLM
        auto = library.AutoModelForMaskedLM if "RobertaForMaskedLM" in kinds else auto
        return auto.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        words = str(error).strip().splitlines()[0]
        raise Problem(f"{folder} holds no network that transformers reads from safetensors: {words}") from None
