"""What every content encoder is to those who use it."""

from anivoice.models.hubert import HubertModel
from anivoice.models.small_encoder import SmallEncoder

ContentModel = HubertModel | SmallEncoder
"""Both have `config.feature_size(version)`, `encoder_id`, `num_frames(num_samples)` and `steps(samples, version)`."""
