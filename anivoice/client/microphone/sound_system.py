"""Which sound system this machine has."""

import sys

from anivoice.client.microphone.devices import AudioSystem
from anivoice.client.microphone.portaudio import PortAudioSystem
from anivoice.client.microphone.pulse import PulseSystem, has_pulse


def find_sound_system() -> AudioSystem:
    """PulseAudio's or PipeWire's own programs where they are, else PortAudio. Raises Unavailable."""
    return PulseSystem() if sys.platform == "linux" and has_pulse() else PortAudioSystem()
