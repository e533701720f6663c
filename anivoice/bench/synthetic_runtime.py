"""A runtime whose voices were made in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anivoice.bench.synthetic import synthetic_rmvpe_state, synthetic_voice
from anivoice.checkpoints.file_stamp import Stamp
from anivoice.config import Settings
from anivoice.engine.runtime import Runtime, build_runtime
from anivoice.errors import NotFound
from anivoice.models.rmvpe import build_rmvpe
from anivoice.stages.pitch.extractor import PitchExtractor
from anivoice.stages.pitch.networks import SaliencePitch
from anivoice.voices.cache import VoiceCache
from anivoice.voices.library import VoiceEntry, VoiceLibrary
from anivoice.voices.voice import Voice, VoiceFiles

UNBOUNDED_BYTES = 2**50


@dataclass(frozen=True)
class MadeVoiceFiles(VoiceFiles):
    """Of a voice that lies nowhere."""

    def stamp(self) -> Stamp:
        return ()


class MadeLibrary(VoiceLibrary):
    """Voices by their names, in place of a folder."""

    def __init__(self, voices: Mapping[str, Voice]) -> None:
        super().__init__(Path("nowhere"))
        self.voices = dict(voices)

    def names(self) -> list[str]:
        return sorted(self.voices)

    def find(self, name: str) -> VoiceFiles:
        if name not in self.voices:
            raise NotFound(f"model_name: there is no voice {name!r}; known are: {', '.join(self.names())}")
        return MadeVoiceFiles(name, Path(name), None, None)

    def default_name(self) -> str:
        return self.names()[0]

    def describe(self, name: str) -> VoiceEntry:
        return VoiceEntry(name, 0, self.voices[name].config)


class MadeVoices(VoiceCache):
    """Takes what a MadeLibrary holds, and never drops it."""

    def __init__(self, library: MadeLibrary) -> None:
        super().__init__(library, UNBOUNDED_BYTES)
        self._made = library.voices

    def _load(self, files: VoiceFiles, stamp: Stamp) -> Voice:
        voice = self._made[files.name]
        voice.files, voice.stamp, voice.encoder.stamp = files, stamp, ()
        return voice


def synthetic_runtime(settings: Settings, layout: str, num_voices: int) -> Runtime:
    """The engine of `settings` with full-size voices `voice-0`, ... of random weights, one content encoder for all, and
    an rmvpe of random weights. Raises InvalidParameter for an unknown layout.
    """
    voices = {f"voice-{seed}": synthetic_voice(layout, seed) for seed in range(num_voices)}
    for voice in voices.values():
        voice.encoder = voices["voice-0"].encoder
    runtime = build_runtime(settings)
    runner = runtime.runner
    rmvpe = build_rmvpe(synthetic_rmvpe_state()).to(runner.device)
    rmvpe.set_network_dtype(runner.dtype)
    estimators = {"rmvpe": SaliencePitch(rmvpe)}
    runner.pitch = PitchExtractor(settings.weights_dir, runner.device, runner.dtype, estimators)
    runner.live.pitch = runner.pitch
    library = MadeLibrary(voices)
    return Runtime(runtime.engine, runner, library, MadeVoices(library))
