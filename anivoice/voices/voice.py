"""A voice and the content encoder it was made for, as they lie in memory. Nothing here reads a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anivoice.checkpoints.file_stamp import Stamp, stamp_of
from anivoice.models.voice_config import UnvoicedF0, VoiceConfig

if TYPE_CHECKING:  # the names of the voices are known without torch
    from anivoice.checkpoints.index_file import IvfIndex
    from anivoice.models.content_model import ContentModel
    from anivoice.models.vits import Synthesizer
    from anivoice.stages.content_encoder import ContentEncoder
    from anivoice.stages.window import PlacedVoice


@dataclass(frozen=True)
class VoiceFiles:
    """The files of one voice."""

    name: str
    path: Path
    index_path: Path | None
    settings_path: Path | None
    index_reason: str | None = None
    """Why the index is taken for the voice's."""

    def stamp(self) -> Stamp:
        return stamp_of(path for path in (self.path, self.index_path, self.settings_path) if path is not None)


@dataclass(eq=False)
class SharedEncoder:
    """A content encoder in memory; `placed` belongs to the engine thread."""

    path: Path
    stamp: Stamp
    model: "ContentModel"
    placed: "ContentEncoder | None" = None


@dataclass(eq=False)
class Voice:
    """A voice in memory. `placed` belongs to the engine thread, the rest does not change but for the index."""

    files: VoiceFiles
    stamp: Stamp
    config: VoiceConfig
    unvoiced_f0: UnvoicedF0
    model: "Synthesizer"
    encoder: SharedEncoder
    index: "IvfIndex | None" = None
    placed: "PlacedVoice | None" = None
    placed_bytes: int = 0
    num_users: int = 0

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def num_bytes(self) -> int:
        """Memory of weights, index, and what the engine made of them."""
        weights = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return weights + self.placed_bytes + (0 if self.index is None else self.index.vectors.nbytes)
