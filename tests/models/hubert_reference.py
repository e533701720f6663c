"""transformers' HubertModel with small random weights: the independent reading of the same network."""

import importlib
from typing import Any

import pytest
import torch

CONFIGS: dict[str, dict[str, object]] = {
    "two_layers": {"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 2, "intermediate_size": 40},
    "ten_layers": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 10, "intermediate_size": 56,
                   "num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 16, "layer_norm_eps": 1e-4},
    "odd_kernel": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 8,
                   "num_conv_pos_embedding_groups": 2, "num_conv_pos_embeddings": 9},
}  # fmt: skip
_COMMON = {"conv_dim": [20] * 7, "mask_time_prob": 0.0, "layerdrop": 0.0}


def reference_model(name: str) -> Any:
    """The HubertModel for one of `CONFIGS`, seeded, in eval mode, norms not at their trivial initial values."""
    with pytest.MonkeyPatch.context() as patch:
        # It would import torchaudio only to read files, and that needs CUDA libraries.
        patch.setattr("transformers.utils.is_torchaudio_available", lambda: False)
        transformers = importlib.import_module("transformers")
        model_class, config_class = transformers.HubertModel, transformers.HubertConfig
    torch.manual_seed(len(name))
    model = model_class(config_class(**_COMMON, **CONFIGS[name])).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def reference_state(model: Any, *, new_spelling: bool) -> dict[str, torch.Tensor]:
    """Its weights with a `final_proj`, under either spelling of weight norm."""
    torch.manual_seed(7)
    hidden = model.config.hidden_size
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state |= {"final_proj.weight": torch.randn(256, hidden) * 0.1, "final_proj.bias": torch.randn(256)}
    if new_spelling:
        return state
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, leaf in old.items():
        name = f"encoder.pos_conv_embed.conv.{new}"
        state[name.replace(new, leaf)] = state.pop(name)
    return state
