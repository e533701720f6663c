"""anivoice: a voice-changer server for RVC models, from files and live."""

__version__ = "0.1.0"
