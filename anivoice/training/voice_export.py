"""A trained voice as the community writes it: `NAME.pth` (SPEC 1.1), and `NAME.index` (SPEC 7)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anivoice.checkpoints.voice_config_values import values_from_config
from anivoice.checkpoints.voice_layout import expected_shapes
from anivoice.models.voice_config import VoiceConfig
from anivoice.training.run_files import save_atomically
from anivoice.training.voice_network import Recipe

LATENT_KEY = "latent"
"""Beside the community's entries: which recipe made the voice's latent, so that training can go on from it."""

NORMALISED = ("dec.ups.", "dec.resblocks.", ".enc.cond_layer.", ".enc.in_layers.", ".enc.res_skip_layers.")
"""The modules whose weights the format stores as a gain and a direction (SPEC 1.3, 1.4)."""

MAX_CELLS_PER_ROOT = 16
MIN_VECTORS_PER_CELL = 39


def export_voice(
    path: Path,
    config: VoiceConfig,
    state: Mapping[str, Tensor],
    recipe: Recipe,
    embedder_model: str,
    info: Mapping[str, str | int],
) -> None:
    """Writes `path`. `state` holds the synthesizer's plain weights; `info` adds entries such as `epoch`, `author`."""
    content: dict[str, object] = {
        "weight": community_state(config, state),
        "config": values_from_config(config),
        "info": f"{info.get('step', 0)} steps",
        "sr": f"{config.sample_rate_hz // 1000}k",
        "f0": int(config.has_f0),
        "version": config.version,
        **info,
        "embedder_model": embedder_model,
        "vocoder": config.vocoder,
        "speakers_id": config.num_speakers,
        LATENT_KEY: recipe,
    }
    save_atomically(path, content)


def community_state(config: VoiceConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights -> float16, in the format's names: gain and direction where it normalises weights."""
    written: dict[str, Tensor] = {}
    for name in expected_shapes(config):
        tensor = state[name].detach().to(torch.float32).cpu()
        if name.endswith(".weight") and any(part in name for part in NORMALISED):
            norm = torch.linalg.vector_norm(tensor.flatten(1), dim=1).reshape(-1, *[1] * (tensor.dim() - 1))
            # A row of zeros has no direction: any will do with a gain of zero, but not zeros.
            direction = torch.where(norm > 0, tensor, torch.ones_like(tensor))
            written[f"{name}_g"], written[f"{name}_v"] = norm.half(), direction.half()
        else:
            written[name] = tensor.half()
    return written


def write_index(path: Path, vectors: NDArray[np.float32], seed: int = 0) -> None:
    """Writes an `IVF{n},Flat` index of `vectors` `[V, F]`, nprobe 1, as RVC does: n = min(16 sqrt(V), V / 39)."""
    import faiss

    num, dim = vectors.shape
    num_cells = max(1, min(int(MAX_CELLS_PER_ROOT * np.sqrt(num)), num // MIN_VECTORS_PER_CELL))
    quantizer = faiss.IndexFlatL2(dim)
    index = faiss.IndexIVFFlat(quantizer, dim, num_cells)
    index.cp.seed = seed + 1
    index.train(np.ascontiguousarray(vectors))
    index.add(np.ascontiguousarray(vectors))
    index.nprobe = 1
    unfinished = path.with_name(f".{path.name}.part")
    faiss.write_index(index, str(unfinished))
    unfinished.replace(path)


def chosen_vectors(features: NDArray[np.float16], max_vectors: int, seed: int = 0) -> NDArray[np.float32]:
    """All of `features` `[V, F]`, or the centres of `max_vectors` groups of them, found by k-means from 16 rounds."""
    import faiss

    vectors = np.ascontiguousarray(features, np.float32)
    if len(vectors) <= max_vectors:
        return vectors
    groups = faiss.Kmeans(vectors.shape[1], max_vectors, niter=16, seed=seed + 1, max_points_per_centroid=64)
    groups.train(vectors)
    return np.asarray(groups.centroids, np.float32)
