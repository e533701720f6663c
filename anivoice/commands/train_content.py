"""`anivoice train content`: one line of progress after another."""

import sys

from anivoice.process import prepare_compute_thread
from anivoice.training.content_training import ContentTraining, train_content


def run_train_content(settings: ContentTraining, device_name: str, num_threads: int) -> int:
    """Trains a content encoder, or goes on where it was stopped."""
    import torch

    prepare_compute_thread(num_threads)
    path = train_content(settings, torch.device(device_name), _say)
    _say(f"the encoder is {path}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
