"""Public model definitions of Hugging Face transformers, built from a config with random weights; nothing is downloaded.

Skipped where transformers is not installed (`pip install tpdyn[integrations]`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from conformance.case import OPTIMIZERS, Case, Train, labels, numbers

TOKENS, VOCABULARY = 8, 50
NEEDS = "" if importlib.util.find_spec("transformers") else "transformers"


def gpt2(n: int, **options: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=16, n_embd=n, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0, **options
    )
    return GPT2LMHeadModel(config)


def bert(n: int, **options: Any) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=n,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=4 * n,
        max_position_embeddings=16,
        **options,
    )
    return BertForMaskedLM(config)


def t5(n: int, **options: Any) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=n,
        d_kv=n // 2,
        d_ff=2 * n,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        decoder_start_token_id=0,
        **options,
    )
    return T5ForConditionalGeneration(config)


def vit(n: int) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=n,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=4 * n,
        image_size=6,
        patch_size=3,
        num_channels=2,
        num_labels=3,
    )
    return ViTForImageClassification(config)


def llama(n: int, **options: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=n,
        intermediate_size=2 * n,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        **options,
    )
    return LlamaForCausalLM(config)


def mixtral(n: int, **options: Any) -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=VOCABULARY,
        hidden_size=n,
        intermediate_size=2 * n,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=3,
        num_experts_per_tok=2,
        max_position_embeddings=16,
        **options,
    )
    return MixtralForCausalLM(config)


def mamba(n: int) -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=n, state_size=3, num_hidden_layers=2, time_step_rank=2)
    return MambaForCausalLM(config)


def mamba2(n: int) -> Any:
    """Gate, inner values, B, C and steps of more and more heads are one projection."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    sizes = {"state_size": 3, "head_dim": 4, "num_heads": n // 2, "n_groups": 1, "chunk_size": 4}
    return Mamba2ForCausalLM(Mamba2Config(vocab_size=VOCABULARY, hidden_size=n, num_hidden_layers=1, **sizes))


def falcon(n: int) -> Any:
    """One key and one value for more and more heads."""
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        vocab_size=VOCABULARY, hidden_size=n, num_hidden_layers=1, num_attention_heads=n // 4, multi_query=True
    )
    return FalconForCausalLM(config)


def falcon_h1(n: int) -> Any:
    """Attention and Mamba-2 side by side."""
    from transformers import FalconH1Config, FalconH1ForCausalLM

    config = FalconH1Config(
        vocab_size=VOCABULARY,
        hidden_size=n,
        num_hidden_layers=1,
        intermediate_size=2 * n,
        num_attention_heads=n // 4,
        num_key_value_heads=n // 4,
        mamba_d_ssm=2 * n,
        mamba_n_heads=n // 2,
        mamba_d_head=4,
        mamba_n_groups=1,
        mamba_d_state=3,
        mamba_d_conv=2,
        mamba_chunk_size=4,
    )
    return FalconH1ForCausalLM(config)


def deepseek(n: int) -> Any:
    """Heads and latents of a growing part and a fixed one that is rotated."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        vocab_size=VOCABULARY,
        hidden_size=n,
        num_hidden_layers=1,
        first_k_dense_replace=1,
        intermediate_size=2 * n,
        num_attention_heads=2,
        num_key_value_heads=2,
        q_lora_rank=n // 2,
        kv_lora_rank=n // 2,
        qk_rope_head_dim=2,
        qk_nope_head_dim=n // 4,
        v_head_dim=n // 4,
    )
    return DeepseekV3ForCausalLM(config)


def language(model_of: Callable[[int], Any], optimizer: str) -> Train:
    """The model's own loss: each token from those before it (or in its place)."""
    return training(model_of, optimizer, lambda tokens: {"input_ids": tokens, "labels": tokens})


def training(model_of: Callable[[int], Any], optimizer: str, batch_of: Callable[[Tensor], dict[str, Tensor]]) -> Train:
    def train(width: int) -> None:
        model = model_of(width)
        model.train()
        step_by = OPTIMIZERS[optimizer](model.parameters())
        batch = batch_of(labels(VOCABULARY, 3, TOKENS))
        for _ in range(5):
            step_by.zero_grad()
            model(**batch).loss.backward()
            step_by.step()

    return train


def padded(tokens: Tensor) -> dict[str, Tensor]:
    """A batch whose second row is shorter."""
    mask = torch.ones_like(tokens)
    mask[1, 5:] = 0
    return {"input_ids": tokens, "labels": tokens, "attention_mask": mask}


def cases() -> list[Case]:
    models: dict[str, Callable[[str], Train]] = {
        "GPT-2": lambda o: language(gpt2, o),
        "GPT-2, attention by hand": lambda o: language(lambda n: gpt2(n, attn_implementation="eager"), o),
        "GPT-2, padded": lambda o: training(gpt2, o, padded),
        "BERT": lambda o: language(bert, o),
        "BERT, padded": lambda o: training(bert, o, padded),
        "T5": lambda o: language(t5, o),
        "T5, gated": lambda o: language(lambda n: t5(n, feed_forward_proj="gated-gelu"), o),
        "ViT": lambda o: training(vit, o, lambda tokens: {"pixel_values": numbers(3, 2, 6, 6), "labels": labels(3, 3)}),
        "Llama, grouped heads": lambda o: language(llama, o),
        "Mixtral": lambda o: language(mixtral, o),
        "Mixtral, weights gathered": lambda o: language(lambda n: mixtral(n, experts_implementation="batched_mm"), o),
        "Mamba": lambda o: language(mamba, o),
        "Mamba-2": lambda o: language(mamba2, o),
        "Falcon, more and more heads": lambda o: language(falcon, o),
        "Falcon-H1": lambda o: language(falcon_h1, o),
        "DeepSeek-V3, latent attention": lambda o: language(deepseek, o),
    }
    found = [
        Case("hugging_face", name, optimizer, train(optimizer), widths=(16, 24, 40), needs=NEEDS, slow=True)
        for name, train in models.items()
        for optimizer in ("SGD", "AdamW")
    ]
    looped = language(lambda n: mixtral(n, experts_implementation="eager"), "SGD")
    outside = "a shape that depends on values"  # how many tokens choose an expert
    name = "Mixtral, experts looped over their tokens"
    return [*found, Case("hugging_face", name, "SGD", looped, widths=(16, 24, 40), outside=outside, needs=NEEDS)]
