"""Audio Mamba: Mamba blocks over patches of a log-mel spectrogram (SSAM, Yadav and Tan, Interspeech 2024).

The input is a waveform at 16 kHz; the mel spectrogram is part of the model. This file and those of the selective scan
need only torch and transformers: they are copied into every checkpoint, which is loaded with ``trust_remote_code``.

The released code differs from what one would expect in five places that affect its results. Each is a setting of
``AudioMambaConfig``, whose value ``official`` follows that code.

Shapes: N rows, T samples, F frames of the spectrogram, W windows of at most 200 frames, P patches in time (at most 50
per window), B patches in frequency (5), M width.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

from .scan_choice import Scan
from .selective_scan import causal_conv, selective_scan

if TYPE_CHECKING:  # transformers copies the files that this one imports, even if the imports never run
    from .scan_kernel import library  # noqa: F401
    from .triton_kernels import scan_forward  # noqa: F401
    from .triton_scan import scan  # noqa: F401

SAMPLE_RATE = 16_000
"""Hz."""

MEL_BINS, N_FFT, HOP, F_MIN, F_MAX = 80, 400, 160, 50.0, 8000.0
"""The spectrogram: windows of 25 ms every 10 ms, bands from 50 to 8000 Hz."""

PATCH_FRAMES, PATCH_BINS = 4, 16
"""Size of a patch: 40 ms of 16 bands."""

TIMES, BANDS = 50, MEL_BINS // PATCH_BINS
"""Patches of a window of two seconds in time and frequency, for which a model has positions."""

FRAMES = TIMES * PATCH_FRAMES
"""Frames of a window."""


class AudioMambaConfig(PretrainedConfig):  # type: ignore[misc]
    """Shape of an Audio Mamba, and where it follows the released code.

    Args:
        hidden_size: width M; 192, 384 and 768 are tiny, small and base.
        num_hidden_layers: number of blocks.
        state_size: number of states of each channel.
        conv_width: kernel width of a block's convolution, in tokens.
        expand: width inside a block, as a multiple of M.
        layer_norm_eps: of all LayerNorms.
        mask_ratio: share of a window's patches that are masked in pretraining.
        loss: over the ``masked`` patches only, or ``official``: over all.
        masked_positions: ``official``: masked patches get no position embedding, so only their place in the sequence
            distinguishes them; ``kept``: they get one.
        standardisation: by the standard deviation of the ``population``, or ``official``: by that of a sample when the
            model is used, and of the population when it is trained.
        padding: ``masked``: padding is ignored; ``official``: clips are padded with zeros to whole windows, with one
            window too many if they fit exactly.
        frame_order: ``time``: a frame holds the bands of one time; ``official``: the tokens of a window are read as if
            all times of a band were adjacent, so that a frame mixes times.
    """

    model_type = "audio_mamba"

    def __init__(
        self,
        hidden_size: int = 192,
        num_hidden_layers: int = 12,
        state_size: int = 24,
        conv_width: int = 4,
        expand: int = 3,
        layer_norm_eps: float = 1e-6,
        mask_ratio: float = 0.5,
        loss: str = "masked",
        masked_positions: str = "official",
        standardisation: str = "population",
        padding: str = "masked",
        frame_order: str = "time",
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.state_size = state_size
        self.conv_width = conv_width
        self.expand = expand
        self.layer_norm_eps = layer_norm_eps
        self.mask_ratio = mask_ratio
        for name, value, other in (
            ("loss", loss, "masked"),
            ("masked_positions", masked_positions, "kept"),
            ("standardisation", standardisation, "population"),
            ("padding", padding, "masked"),
            ("frame_order", frame_order, "time"),
        ):
            if value not in (other, "official"):
                raise ValueError(f"{name} must be {other!r} or 'official', but is {value!r}")
            setattr(self, name, value)
        if hidden_size % 4:
            raise ValueError(f"hidden_size must be a multiple of 4 (for sines and cosines), but is {hidden_size}")
        kwargs.setdefault("auto_map", {auto: f"audio_mamba.{name}" for auto, name in AUTO.items()})
        super().__init__(**kwargs)


AUTO = {
    "AutoConfig": "AudioMambaConfig",
    "AutoModel": "AudioMambaModel",
    "AutoModelForPreTraining": "AudioMambaForPreTraining",
    "AutoModelForAudioClassification": "AudioMambaForAudioClassification",
}
"""The classes that transformers loads from a checkpoint's folder."""


@dataclass
class AudioMambaOutput(ModelOutput):  # type: ignore[misc]
    """Output of an Audio Mamba: 25 frames per second."""

    last_hidden_state: Tensor | None = None
    """``(N, frames, 5 M)``: the bands of each time, concatenated."""
    hidden_states: tuple[Tensor, ...] | None = None
    """The same for the input of the first block and for the output of each block; the last is after the LayerNorm."""
    frame_mask: Tensor | None = None
    """``(N, frames)`` bool: False for padding."""


@dataclass
class AudioMambaForPreTrainingOutput(ModelOutput):  # type: ignore[misc]
    """Output for pretraining. Patches are ordered by time, and within a time from low to high bands."""

    loss: Tensor | None = None
    """Scalar: the mean squared error over the patches that ``config.loss`` names."""
    predictions: Tensor | None = None
    """``(N, 250, 64)``: the predicted values of each patch, in time and frequency."""
    targets: Tensor | None = None
    """``(N, 250, 64)``: the values of the standardised log-mel spectrogram."""
    mask: Tensor | None = None
    """``(N, 250)`` bool: True for masked patches."""


def own_samples(waveforms: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the length of each row ``(N, T)`` without padding, ``(N,)`` samples: T, or as the mask says.

    Raises:
        ValueError: ``waveforms`` is not a batch of waveforms, the mask has another shape, or is not 1 from the start.
    """
    if not isinstance(waveforms, Tensor) or waveforms.ndim != 2 or not waveforms.numel():
        kind = type(waveforms).__name__
        found = f"of shape {tuple(waveforms.shape)}" if isinstance(waveforms, Tensor) else f"a {kind}"
        raise ValueError(f"input_values must be a tensor of shape (clips, samples), both above 0, but is {found}")
    if not waveforms.is_floating_point():
        raise ValueError(f"input_values must be floating-point samples in [-1, 1], but are {waveforms.dtype}")
    if attention_mask is None:
        return torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
    if attention_mask.shape != waveforms.shape:
        shapes = f"{tuple(waveforms.shape)}, but is of shape {tuple(attention_mask.shape)}"
        raise ValueError(f"attention_mask must be of the shape of input_values, {shapes}")
    own = attention_mask.to(waveforms.device) != 0
    lengths = own.sum(1)
    first = torch.arange(own.shape[1], device=own.device) < lengths[:, None]
    if wrong := ((own != first).any(1) | (lengths == 0)).nonzero().flatten().tolist():
        raise ValueError(f"attention_mask must be 1 for a clip's samples, then 0, but is not in rows {wrong[:5]}")
    return lengths


def log_mel(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return natural-log mel spectrograms, ``(N, F, 80)`` float32, and each row's number of frames, ``(N,)``.

    Each row is reflected at its own ends, so its frames do not depend on the other rows of the batch.

    Args:
        waveforms: ``(N, T)`` at 16 kHz.
        lengths: ``(N,)`` samples, at least one.
    """
    with torch.autocast(waveforms.device.type, enabled=False):
        waveforms, lengths = waveforms.float(), lengths.to(waveforms.device, torch.int64)
        # A row shorter than the reflected part counts as followed by silence, whatever its padding holds.
        shortest = N_FFT // 2 + 1
        waveforms = F.pad(waveforms, (0, max(shortest - waveforms.shape[1], 0)))
        waveforms = waveforms.where(torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None], 0)
        lengths = lengths.clamp(min=shortest)
        last = lengths[:, None] - 1
        place = torch.arange(-(N_FFT // 2), waveforms.shape[1] + N_FFT // 2, device=waveforms.device).abs()
        place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
        return log_mel_of_windows(waveforms.gather(1, place)), lengths // HOP + 1


def log_mel_of_windows(samples: Tensor) -> Tensor:
    """Return natural-log mel spectrograms, ``(N, F, 80)`` float32, of ``(N, 400 + 160 (F - 1))`` samples."""
    with torch.autocast(samples.device.type, enabled=False):
        window = torch.hann_window(N_FFT, device=samples.device)
        spectrum = torch.stft(samples.float(), N_FFT, HOP, window=window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        # (N, 201, F) -> (N, F, 201) x (201, 80) -> (N, F, 80)
        mel = power.transpose(1, 2) @ mel_filters(samples.device)
        return (mel + torch.finfo(torch.float32).eps).log()


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def mel_filters(device: torch.device) -> Tensor:
    """Return triangular filters ``(201, 80)``, evenly spaced on the mel scale of HTK: 2595 log10(1 + f / 700)."""
    lowest, highest = (2595 * math.log10(1 + frequency / 700) for frequency in (F_MIN, F_MAX))
    # In float32 as in torchaudio, because the logarithm makes the last digits of weak bands visible.
    corners = 700 * (10 ** (torch.linspace(lowest, highest, MEL_BINS + 2) / 2595) - 1)
    past = corners - torch.linspace(0, SAMPLE_RATE // 2, N_FFT // 2 + 1)[:, None]
    width = corners.diff()
    # (201, 82) -> (201, 80)
    falling, rising = past[:, 2:] / width[1:], -past[:, :-2] / width[:-1]
    return torch.minimum(falling, rising).clamp(min=0).to(device)


def standardise(mel: Tensor, frames: Tensor, correction: int) -> Tensor:
    """Normalise each row to zero mean and unit standard deviation over all its values; padding becomes zero.

    Args:
        mel: ``(N, F, 80)``.
        frames: ``(N,)``, number of frames without padding.
        correction: 0 for the population's standard deviation, 1 for a sample's.
    """
    own = (torch.arange(mel.shape[1], device=mel.device) < frames[:, None])[..., None]
    count = (frames * mel.shape[2])[:, None, None]
    centred = mel
    # Subtract the mean twice: for digital silence, whose values are all equal, the first time leaves a rounding error.
    for _ in range(2):
        centred = (centred - centred.where(own, 0).sum((1, 2), keepdim=True) / count).where(own, 0)
    deviation = (centred.square().sum((1, 2), keepdim=True) / (count - correction)).sqrt()
    return centred / (deviation + 1e-8)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def positions(times: int, width: int, device: torch.device) -> Tensor:
    """Return fixed 2-D sines and cosines, ``(times x 5, width)``: half of the width for frequency, half for time.

    As in MAE (He et al., 2022), after Vaswani et al. (2017), section 3.5.
    """
    quarter = width // 4
    rates = 1 / 10_000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)

    def encode(place: Tensor) -> Tensor:
        angles = place[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], 1)

    time = torch.arange(times, dtype=torch.float64).repeat_interleave(BANDS)
    band = torch.arange(BANDS, dtype=torch.float64).repeat(times)
    return torch.cat([encode(band), encode(time)], 1).float().to(device)


def patches(mel: Tensor) -> Tensor:
    """Cut ``(N, F, 80)``, F a multiple of 4, into ``(N, F / 4 x 5, 64)``, by time and then from low to high bands."""
    rows, frames, _ = mel.shape
    # (N, F, 80) -> (N, P, 4, B, 16) -> (N, P, B, 4, 16)
    cut = mel.view(rows, frames // PATCH_FRAMES, PATCH_FRAMES, BANDS, PATCH_BINS).transpose(2, 3)
    return cut.reshape(rows, -1, PATCH_FRAMES * PATCH_BINS)


class PatchEmbed(nn.Module):
    """A linear map of each patch, stored as the convolution that it is in the released checkpoints."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, (PATCH_FRAMES, PATCH_BINS), (PATCH_FRAMES, PATCH_BINS))

    def forward(self, cut: Tensor) -> Tensor:
        """Map ``(N, tokens, 64)`` to ``(N, tokens, M)``."""
        return F.linear(cut.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


class Mixer(nn.Module):
    """Mamba's mixer (Gu and Dao, 2023, section 3.4), with mamba-ssm's names of parameters."""

    def __init__(self, config: AudioMambaConfig) -> None:
        super().__init__()
        inner = config.expand * config.hidden_size
        self.rank, self.states = math.ceil(config.hidden_size / 16), config.state_size
        self.scan: Scan = "auto"
        self.in_proj = nn.Linear(config.hidden_size, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.conv_width, groups=inner, padding=config.conv_width - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * config.state_size, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.empty(inner, config.state_size))
        self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Mix ``(N, tokens, M)`` causally: each token depends on itself and those before it."""
        x, gate = self.in_proj(hidden).chunk(2, -1)
        assert self.conv1d.bias is not None
        x = causal_conv(x, self.conv1d.weight[:, 0], self.conv1d.bias, self.scan)
        step, b, c = self.x_proj(x).split([self.rank, self.states, self.states], -1)
        # The bias is added inside the softplus, in float32.
        delta = F.linear(step, self.dt_proj.weight)
        a = -self.A_log.float().exp()
        y = selective_scan(x, delta, a, b, c, self.D, gate, self.dt_proj.bias, self.scan)
        out: Tensor = self.out_proj(y)
        return out


class Block(nn.Module):
    """LayerNorm and mixer on a residual stream, which stays in float32."""

    def __init__(self, config: AudioMambaConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mixer = Mixer(config)

    def forward(self, residual: Tensor) -> Tensor:
        """Return ``(N, tokens, M)`` plus the mixer's output for it, in float32."""
        mixed: Tensor = self.mixer(self.norm(residual.to(self.norm.weight.dtype)))
        return residual + mixed.float()


class AudioMambaPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """Initialises and loads weights."""

    config_class = AudioMambaConfig
    base_model_prefix = "audio_mamba"
    main_input_name = "input_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Mixer):
            self._init_mixer(module)
        elif isinstance(module, nn.Conv2d):
            # The patch embedding's (transformers 5 skips modules without weights of their own). Xavier's bound for a
            # convolution counts each of its values as an output, so it is small.
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, AudioMambaModel):
            nn.init.normal_(module.cls_token, std=0.02)
        elif isinstance(module, AudioMambaForPreTraining):
            nn.init.normal_(module.mask_token, std=0.02)

    def _init_mixer(self, mixer: Mixer) -> None:
        """As in mamba-ssm, with the released code's Kaiming initialisation of ``out_proj``, over sqrt(blocks)."""
        inner, states = mixer.A_log.shape
        _set(mixer.A_log, torch.arange(1, states + 1, dtype=torch.float32).log().expand(inner, -1))
        nn.init.ones_(mixer.D)
        for linear in (mixer.in_proj, mixer.x_proj):
            nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5))
        # Kaiming's bound with a = sqrt(5) is 1 / sqrt(inputs).
        bound = 1 / math.sqrt(inner * self.config.num_hidden_layers)
        nn.init.uniform_(mixer.out_proj.weight, -bound, bound)
        nn.init.kaiming_uniform_(mixer.conv1d.weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(mixer.conv1d.kernel_size[0])
        assert mixer.conv1d.bias is not None
        nn.init.uniform_(mixer.conv1d.bias, -bound, bound)
        nn.init.uniform_(mixer.dt_proj.weight, -(mixer.rank**-0.5), mixer.rank**-0.5)
        # Step sizes between 0.001 and 0.1, uniform on a logarithmic scale; the bias is the inverse softplus of them.
        span = math.log(0.1) - math.log(0.001)
        step = (torch.rand(inner) * span + math.log(0.001)).exp().clamp(min=1e-4)
        _set(mixer.dt_proj.bias, step + (-(-step).expm1()).log())


def _set(parameter: nn.Parameter, value: Tensor) -> None:
    """Set a weight unless it was loaded. transformers 5 marks loaded weights, but only ``nn.init`` heeds the mark."""
    if not getattr(parameter, "_is_hf_initialized", False):
        parameter.copy_(value)


class AudioMambaModel(AudioMambaPreTrainedModel):
    """The encoder, which turns waveforms into frames."""

    def __init__(self, config: AudioMambaConfig) -> None:
        super().__init__(config)
        self.patch_embed = PatchEmbed(config.hidden_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.encoder_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> AudioMambaOutput | tuple[Tensor, ...]:
        """Return 25 frames per second for waveforms of any length.

        A clip is divided into consecutive windows of two seconds, which are encoded independently. The rest at its end
        is a shorter window, of whole patches of 40 ms. A clip shorter than a patch is padded with its mean.

        Args:
            input_values: ``(N, T)`` at 16 kHz.
            attention_mask: ``(N, T)``, 1 for the samples of a row, then 0 for padding.
            output_hidden_states: also return the hidden states of all blocks.
            return_dict: ``False`` for a tuple.

        Raises:
            ValueError: an argument has another shape, or a row of the mask is empty or not 1 from its start.
        """
        lengths = own_samples(input_values, attention_mask)
        cut, times, count = self.cut(input_values, lengths, int(lengths.max()))
        layers = self.encode(self.embed(cut))
        read = [
            self.as_frames(hidden, times)[:, : int(count.max())]
            for hidden in (layers if self._wants(output_hidden_states) else layers[-1:])
        ]
        mask = torch.arange(read[-1].shape[1], device=cut.device) < count[:, None]
        output = AudioMambaOutput(read[-1], tuple(read) if len(read) > 1 else None, mask)
        return output if return_dict is not False else output.to_tuple()

    def cut(self, waveforms: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cut waveforms into patches of windows.

        Args:
            waveforms: ``(N, T)`` at 16 kHz.
            lengths: ``(N,)`` samples, at least one.
            longest: the largest of them, known on the host.

        Returns:
            patches ``(N x W, tokens, 64)``; each row's number of patches in time without padding, ``(N,)``; and each
            row's number of frames, ``(N,)``.
        """
        mel, frames = log_mel(waveforms, lengths)
        mel = standardise(mel, frames, correction=int(self.config.standardisation == "official"))
        official = self.config.padding == "official"
        most = max(longest, N_FFT // 2 + 1) // HOP + 1
        times = (frames // PATCH_FRAMES).clamp(min=1)
        windows = most // FRAMES + 1 if official else -(-max(most // PATCH_FRAMES, 1) // TIMES)
        mel = F.pad(mel, (0, 0, 0, max(windows * FRAMES - mel.shape[1], 0)))[:, : windows * FRAMES]
        # A single window ends with the longest row.
        length = FRAMES if official or windows > 1 else max(most // PATCH_FRAMES, 1) * PATCH_FRAMES
        # (N, W x 200, 80) -> (N x W, 200, 80)
        cut = patches(mel.reshape(len(mel) * windows, -1, MEL_BINS)[:, :length])
        held = torch.full_like(times, windows * TIMES) if official else times
        return cut, held, self._count(frames, times, official)

    def embed(self, cut: Tensor) -> Tensor:
        """Return embedded patches ``(N, tokens, M)`` with positions, for patches ``(N, tokens, 64)``."""
        return self.placed(self.patch_embed(cut))

    def placed(self, embedded: Tensor) -> Tensor:
        """Return embedded patches ``(N, tokens, M)`` with positions added."""
        return embedded + positions(TIMES, self.config.hidden_size, embedded.device)[: embedded.shape[1]]

    def encode(self, tokens: Tensor) -> list[Tensor]:
        """Return ``(N, tokens, M)`` for the input and each block; the last is after the LayerNorm."""
        residual = self.begun(tokens)
        states = [residual]
        for block in self.blocks:
            residual = block(residual)
            states.append(residual)
        return self.ended(states)

    def begun(self, tokens: Tensor) -> Tensor:
        """Return the input of the first block, ``(N, 1 + tokens, M)`` float32, with the class token first."""
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1).float(), tokens.float()], 1)

    def ended(self, states: list[Tensor]) -> list[Tensor]:
        """Return the states without the class token, with the LayerNorm applied to the last."""
        last = self.encoder_norm(states[-1].to(self.encoder_norm.weight.dtype))
        return [state[:, 1:] for state in (*states[:-1], last)]

    def _wants(self, asked: bool | None) -> bool:
        return bool(self.config.output_hidden_states if asked is None else asked)

    def _count(self, frames: Tensor, times: Tensor, official: bool) -> Tensor:
        """Return each row's number of output frames without padding."""
        if not official:
            return times
        padding = FRAMES - frames % FRAMES
        return (frames // FRAMES + 1) * TIMES - TIMES * padding // FRAMES

    def as_frames(self, tokens: Tensor, own: Tensor) -> Tensor:
        """Turn ``(N x W, P x B, M)`` into frames ``(N, W x P, B x M)``; ``own`` ``(N,)`` is a row's number of times."""
        windows, count, width = tokens.shape
        times = count // BANDS
        tokens = tokens.view(windows, times, BANDS, width)
        if self.config.frame_order == "official":
            # Number of times in each window, (N x W, 1, 1); later ones are padding and must not be read.
            start = torch.arange(windows // len(own), device=own.device) * TIMES
            held = (own[:, None] - start).clamp(0, times).view(-1, 1, 1)
            time, band = torch.arange(times, device=own.device)[:, None], torch.arange(BANDS, device=own.device)
            place = (band * held + time).clamp(max=count - 1).view(windows, count, 1)
            tokens = tokens.view(windows, count, width).gather(1, place.expand(-1, -1, width))
        return tokens.reshape(len(own), -1, BANDS * width)


class AudioMambaForPreTraining(AudioMambaPreTrainedModel):
    """The encoder, and a head that predicts masked patches from their context."""

    def __init__(self, config: AudioMambaConfig) -> None:
        super().__init__(config)
        width, values = config.hidden_size, PATCH_FRAMES * PATCH_BINS
        self.audio_mamba = AudioMambaModel(config)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.pred = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, values))
        self.post_init()

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, mask: Tensor | None = None
    ) -> AudioMambaForPreTrainingOutput:
        """Mask patches of the first two seconds of each row, repeating shorter rows, and predict them.

        Args:
            input_values: ``(N, T)`` at 16 kHz.
            attention_mask: ``(N, T)``, 1 for the samples of a row, then 0 for padding.
            mask: ``(N, 250)`` bool, True for patches to mask; drawn at random if None.
        """
        mel, frames = log_mel(input_values, own_samples(input_values, attention_mask))
        cut = self.crop(standardise(mel, frames, correction=0), frames, torch.zeros_like(frames))
        if mask is None:
            count = round(self.config.mask_ratio * TIMES * BANDS)
            mask = torch.rand(len(cut), TIMES * BANDS, device=cut.device).argsort(1).argsort(1) < count
        predictions = self.predict(cut, mask)
        error = (predictions.float() - cut).square().mean(-1)
        loss = error[mask].mean() if self.config.loss == "masked" else error.mean()
        return AudioMambaForPreTrainingOutput(loss, predictions, cut, mask)

    @staticmethod
    def crop(mel: Tensor, frames: Tensor, starts: Tensor) -> Tensor:
        """Return the patches ``(N, 250, 64)`` of the 200 frames from ``starts`` on; a row that is too short repeats.

        Args:
            mel: ``(N, F, 80)``.
            frames: ``(N,)``, number of frames without padding.
            starts: ``(N,)``, at least 0.
        """
        place = (starts[:, None] + torch.arange(FRAMES, device=mel.device)) % frames[:, None]
        return patches(mel.gather(1, place[..., None].expand(-1, -1, MEL_BINS)))

    def predict(self, cut: Tensor, mask: Tensor) -> Tensor:
        """Return predictions ``(N, 250, 64)`` for all patches, with those in ``mask`` ``(N, 250)`` masked."""
        tokens = self.audio_mamba.embed(cut)
        hidden: Tensor = self.mask_token
        if self.config.masked_positions == "kept":
            hidden = hidden + positions(TIMES, self.config.hidden_size, cut.device)
        tokens = torch.where(mask[..., None], hidden.to(tokens.dtype), tokens)
        predictions: Tensor = self.pred(self.audio_mamba.encode(tokens)[-1])
        return predictions


class AudioMambaForAudioClassification(AudioMambaPreTrainedModel):
    """The encoder, the mean of its frames over a clip, and a linear layer."""

    def __init__(self, config: AudioMambaConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.audio_mamba = AudioMambaModel(config)
        self.classifier = nn.Linear(BANDS * config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Return logits ``(N, labels)`` and, if ``labels`` ``(N,)`` are given, the cross entropy."""
        encoded = self.audio_mamba(input_values, attention_mask, output_hidden_states)
        own = encoded.frame_mask[..., None]
        mean = encoded.last_hidden_state.where(own, 0).sum(1) / own.sum(1)
        logits = self.classifier(mean)
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=encoded.hidden_states)
        return output if return_dict is not False else output.to_tuple()


def register() -> None:
    """Register the classes with transformers' Auto classes, so that checkpoints include a copy of this file."""
    AutoConfig.register(AudioMambaConfig.model_type, AudioMambaConfig, exist_ok=True)
    AudioMambaConfig.register_for_auto_class("AutoConfig")
    for auto, model in (
        (AutoModel, AudioMambaModel),
        (AutoModelForPreTraining, AudioMambaForPreTraining),
        (AutoModelForAudioClassification, AudioMambaForAudioClassification),
    ):
        auto.register(AudioMambaConfig, model, exist_ok=True)
        model.register_for_auto_class(auto.__name__)
