"""The training of a voice: one step, and the state that a checkpoint must hold to continue bit for bit.

Shape letters: B batch, C latent channels, T frames of a batch's pieces, D frames that are decoded of them, S samples
per frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from anivoice.models.vits import Synthesizer
from anivoice.training.discriminators import Discriminators, deception_loss, discriminator_loss, feature_distance
from anivoice.training.spectra import StftDistance, VoiceMel
from anivoice.training.voice_data import Batch, SliceSet
from anivoice.training.voice_network import (
    MelLatent,
    PosteriorEncoder,
    Recipe,
    fix_prior,
    flow_forward,
    kl_divergence,
    trained_parameters,
)

LOSS_MELS = 80
MEL_WEIGHT = 2.0
DECEPTION_WEIGHT = 0.3
FEATURE_WEIGHT = 1.0
KL_WEIGHT = 1 / 45
"""The community's recipe weighs the mel distance 45 times as much as the divergence."""

EDGE_FRAMES = 2
"""A piece's first and last frames are not decoded: their spectra have seen its mirrored edge."""

OFFSET_WEIGHT = 20.0

MAX_GRADIENT_NORM = 10.0
BETAS = (0.8, 0.99)


@dataclass(frozen=True)
class TrainingPlan:
    """What a run does. All of it goes into the checkpoint.

    The first `latent_steps` steps train the text encoder alone; the discriminators join at step `gan_from`. The
    learning rate falls along half a cosine to `final_rate_share` of itself at `num_steps`. Of the discriminators
    `judges_per_step` are asked in a step, by turns: all of them cost several times what a small voice does.
    """

    recipe: Recipe = "mel"
    num_steps: int = 6000
    batch_size: int = 8
    piece_frames: int = 160
    decoded_frames: int = 32
    learning_rate: float = 5e-4
    final_rate_share: float = 0.1
    warmup_steps: int = 100
    latent_steps: int = 0
    gan_from: int = 3000
    decoder_only: bool = False
    discriminator_width: int = 16
    judges_per_step: int = 3
    average_decay: float = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    def learning_rate_at(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        done = min(step / max(self.num_steps, 1), 1.0)
        share = self.final_rate_share + (1 - self.final_rate_share) * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * warm * share


class Latents(NamedTuple):
    """What the decoder shall make the recording from `[B, C, T]`, and the loss that ties the text encoder to it."""

    z: Tensor
    loss: Tensor


class VoiceTrainer:
    """One voice in training on one device."""

    def __init__(self, model: Synthesizer, plan: TrainingPlan, device: torch.device) -> None:
        self.model = model.to(device)
        self.plan = plan
        self.device = device
        self.step = 0
        self.judge_loss = 0.0
        config = model.config
        torch.manual_seed(plan.seed)
        self.posterior: nn.Module = MelLatent(config) if plan.recipe == "mel" else PosteriorEncoder(config)
        self.posterior.to(device)
        self.discriminators = Discriminators(plan.discriminator_width).to(device)
        self.stft_distance = StftDistance().to(device)
        self.mel = VoiceMel(config.sample_rate_hz, LOSS_MELS).to(device)
        self.parameters = trained_parameters(model, plan.recipe, plan.decoder_only) + list(self.posterior.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, plan.learning_rate, BETAS)
        self.judge_optimizer = torch.optim.AdamW(self.discriminators.parameters(), plan.learning_rate, BETAS)
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def train_step(self, data: SliceSet) -> dict[str, float]:
        """One step; returns its losses by name."""
        plan = self.plan
        batch = _to(data.batch(plan.seed, self.step, plan.batch_size, plan.piece_frames), self.device)
        random = torch.Generator().manual_seed(plan.seed * 1_000_003 + self.step)
        for optimizer in (self.optimizer, self.judge_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate_at(self.step)
        latents, losses = self._latents(batch, random)
        if self.step >= plan.latent_steps:
            losses |= self._decode_losses(batch, latents.z, random)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
        self.optimizer.step()
        if plan.recipe == "mel":
            fix_prior(self.model)
        self.step += 1
        self._follow()
        told = {name: float(loss.detach()) for name, loss in losses.items()}
        return told | ({"judges": self.judge_loss} if "deception" in losses else {})

    def _latents(self, batch: Batch, random: torch.Generator) -> tuple[Latents, dict[str, Tensor]]:
        made = self._mel_latents(batch, random) if self.plan.recipe == "mel" else self._vits_latents(batch, random)
        return made, ({} if self.plan.decoder_only else {"latent": made.loss})

    def _mel_latents(self, batch: Batch, random: torch.Generator) -> Latents:
        """Half of the batch decodes the recording's own spectrum, the other half what the text encoder says."""
        real: Tensor = self.posterior(batch.waveform)
        if self.plan.decoder_only:
            return Latents(real, torch.zeros((), device=self.device))
        assert batch.content is not None
        with self._autocast():
            prior = self.model.prior(batch.content, batch.coarse_pitch)
        predicted = prior.mean.float()
        B = len(real)
        z = torch.cat([predicted[: (B + 1) // 2], real[(B + 1) // 2 :]])
        return Latents(z, (predicted - real).abs().mean())

    def _vits_latents(self, batch: Batch, random: torch.Generator) -> Latents:
        g = self._speaker(len(batch.waveform))
        assert batch.content is not None
        with self._autocast():
            prior = self.model.prior(batch.content, batch.coarse_pitch)
        mean, log_std = self.posterior(batch.waveform, g)
        noise = torch.randn(mean.shape, generator=random).to(self.device)
        z = mean + torch.exp(log_std) * noise
        kl = kl_divergence(flow_forward(self.model.flow, z, g), log_std, prior._replace(mean=prior.mean.float()))
        return Latents(z, KL_WEIGHT * kl)

    def _decode_losses(self, batch: Batch, z: Tensor, random: torch.Generator) -> dict[str, Tensor]:
        plan = self.plan
        B, _, T = z.shape
        D, S = min(plan.decoded_frames, T), self.model.config.frame_samples
        edge = min(EDGE_FRAMES, (T - D) // 2)
        starts = torch.randint(edge, T - D - edge + 1, (B,), generator=random).tolist()
        z = torch.stack([row[:, a : a + D] for row, a in zip(z, starts, strict=True)])
        f0_hz = torch.stack([row[a : a + D] for row, a in zip(batch.f0_hz, starts, strict=True)])
        real = torch.stack([row[a * S : (a + D) * S] for row, a in zip(batch.waveform, starts, strict=True)])
        phase = torch.rand(B, generator=random).to(self.device)
        noise = torch.randn(B, D * S, generator=random).to(self.device)
        with self._autocast():
            z, source = self.model.decoder_input(z, f0_hz, phase, noise)
            made = self.model.dec(z, self._speaker(B), source)
        made = made.float()
        losses = {
            "stft": self.stft_distance(made, real),
            "mel": MEL_WEIGHT * (self.mel(made) - self.mel(real)).abs().mean(),
            "offset": OFFSET_WEIGHT * made.mean(1).abs().mean(),
        }
        if self.step >= plan.gan_from:
            number = len(self.discriminators.judges)
            chosen = torch.randperm(number, generator=random)[: min(plan.judges_per_step, number)].tolist()
            losses |= self._judged(made, real, chosen)
        return losses

    def _judged(self, made: Tensor, real: Tensor, chosen: list[int]) -> dict[str, Tensor]:
        """Trains the chosen discriminators on this step's waveforms, then asks them."""
        with self._autocast():
            judge_loss = discriminator_loss(
                self.discriminators(real, chosen), self.discriminators(made.detach(), chosen)
            )
        self.judge_optimizer.zero_grad(set_to_none=True)
        judge_loss.backward()  # type: ignore[no-untyped-call]
        self.judge_optimizer.step()
        self.judge_loss = float(judge_loss.detach())
        self.discriminators.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                reals = self.discriminators(real, chosen)
            mades = self.discriminators(made, chosen)
        self.discriminators.requires_grad_(True)
        return {
            "deception": DECEPTION_WEIGHT * deception_loss(mades),
            "features": FEATURE_WEIGHT * feature_distance(reals, mades),
        }

    def _speaker(self, batch_size: int) -> Tensor:
        return self.model.speaker(torch.zeros(batch_size, dtype=torch.long, device=self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.precision == "bf16")

    def _follow(self) -> None:
        """The moving average of the weights, which is what is exported."""
        decay = min(self.plan.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                self.average[name].lerp_(tensor, 1 - decay)

    def state(self) -> dict[str, object]:
        """Everything a continued run needs."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "posterior": self.posterior.state_dict(),
            "discriminators": self.discriminators.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.judge_optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, object]) -> None:
        """From `state`. Raises KeyError or RuntimeError where it belongs to another network."""
        self.model.load_state_dict(_dict(state["model"]))
        self.posterior.load_state_dict(_dict(state["posterior"]))
        self.discriminators.load_state_dict(_dict(state["discriminators"]))
        self.optimizer.load_state_dict(_dict(state["optimizer"]))
        self.judge_optimizer.load_state_dict(_dict(state["judge_optimizer"]))
        average = _dict(state["average"])
        for name, tensor in self.average.items():
            tensor.copy_(average[name])
        step = state["step"]
        assert isinstance(step, int)
        self.step = step


def _dict(value: object) -> dict[str, Tensor]:
    assert isinstance(value, dict)
    return value


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(None if tensor is None else tensor.to(device) for tensor in batch))  # type: ignore[arg-type]
