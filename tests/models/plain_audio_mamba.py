"""Audio Mamba written once more, from the papers and in loops, as a reference: float64, nothing shared with ours.

Spectrogram: torchaudio's. Positions: MAE's (He et al., 2022). Mixer: Gu and Dao (2023), section 3.4 and Algorithm 2.
"""

import numpy as np
import torch
import torchaudio


def log_mel(waveform):
    """``(T,)`` to ``(frames, 80)``, natural logarithm."""
    spectrogram = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=400, win_length=400, hop_length=160, f_min=50.0, f_max=8000.0, n_mels=80, power=2.0
    )
    return (spectrogram(waveform) + torch.finfo(torch.float32).eps).log().T


def positions(times, width):
    """``(times x 5, width)``: the first half tells the band, the second the time; sines, then cosines."""
    out = np.zeros((times * 5, width))
    quarter = width // 4
    for time in range(times):
        for band in range(5):
            for i in range(quarter):
                rate = 10_000 ** (-i / quarter)
                row = out[time * 5 + band]
                row[i], row[quarter + i] = np.sin(band * rate), np.cos(band * rate)
                row[2 * quarter + i], row[3 * quarter + i] = np.sin(time * rate), np.cos(time * rate)
    return out


def patches_of(mel):
    """``(frames, 80)`` to ``(frames / 4 x 5, 64)``: time outside, band inside, values by frame and then by bin."""
    return np.array(
        [
            mel[4 * time : 4 * time + 4, 16 * band : 16 * band + 16].reshape(-1)
            for time in range(len(mel) // 4)
            for band in range(5)
        ]
    )


def layer_norm(x, weight, bias, eps):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def silu(x):
    return x / (1 + np.exp(-x))


def mixer(x, weights, prefix):
    """Mamba's mixer for ``(tokens, M)``, a token at a time."""
    get = {name: weights[f"{prefix}.{name}"] for name in ("A_log", "D", "in_proj.weight", "conv1d.weight")}
    inner, states = get["A_log"].shape
    width = get["conv1d.weight"].shape[-1]
    both = x @ get["in_proj.weight"].T
    raw, gate = both[:, :inner], both[:, inner:]
    out = np.zeros((len(x), inner))
    state = np.zeros((inner, states))
    for t in range(len(x)):
        seen = weights[f"{prefix}.conv1d.bias"].copy()
        for back in range(width):
            if t - back >= 0:
                seen = seen + get["conv1d.weight"][:, 0, width - 1 - back] * raw[t - back]
        u = silu(seen)
        projected = weights[f"{prefix}.x_proj.weight"] @ u
        rank = len(projected) - 2 * states
        low, b, c = projected[:rank], projected[rank : rank + states], projected[rank + states :]
        step = np.log1p(np.exp(weights[f"{prefix}.dt_proj.weight"] @ low + weights[f"{prefix}.dt_proj.bias"]))
        decay = np.exp(-step[:, None] * np.exp(get["A_log"]))
        state = decay * state + (step * u)[:, None] * b[None, :]
        out[t] = (state @ c + get["D"] * u) * silu(gate[t])
    return out @ weights[f"{prefix}.out_proj.weight"].T


def encode(tokens, weights, eps=1e-6):
    """Tokens ``(P, M)`` with their positions to what enters each block, and what the encoder gives at the end."""
    layers = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    x = np.concatenate([weights["cls_token"][0], tokens])
    states = [x]
    for i in range(layers):
        normed = layer_norm(x, weights[f"blocks.{i}.norm.weight"], weights[f"blocks.{i}.norm.bias"], eps)
        x = x + mixer(normed, weights, f"blocks.{i}.mixer")
        states.append(x)
    states[-1] = layer_norm(x, weights["encoder_norm.weight"], weights["encoder_norm.bias"], eps)
    return [state[1:] for state in states]


def embed(cut, weights):
    """Patches ``(P, 64)`` to tokens ``(P, M)`` with positions, by the convolution's own definition."""
    kernel = weights["patch_embed.proj.weight"]
    tokens = np.einsum("pij,dij->pd", cut.reshape(-1, 4, 16), kernel[:, 0]) + weights["patch_embed.proj.bias"]
    return tokens + positions(len(cut) // 5, kernel.shape[0])


def head(x, weights):
    from scipy.special import erf

    hidden = x @ weights["pred.0.weight"].T + weights["pred.0.bias"]
    hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
    return hidden @ weights["pred.2.weight"].T + weights["pred.2.bias"]


def standardised(mel, correction=0):
    mel = mel.double().numpy()
    return (mel - mel.mean()) / (mel.std(ddof=correction) + 1e-8)


def frames(waveform, weights, eps=1e-6):
    """A waveform to frames by layer, as our defaults have it: windows of 50 times, the last of what is left."""
    mel = standardised(log_mel(waveform))
    times = max(len(mel) // 4, 1)
    mel = np.concatenate([mel, np.zeros((max(4 - len(mel), 0), 80))])[: 4 * times]
    windows = [mel[start : start + 200] for start in range(0, len(mel), 200)]
    states = [encode(embed(patches_of(window), weights), weights, eps) for window in windows]
    layers = zip(*states, strict=True)
    return [np.concatenate([state.reshape(len(state) // 5, -1) for state in layer]) for layer in layers]


def official_frames(waveform, weights):
    """A waveform to frames as the released code's HEAR interface gives them, ``(frames, 5 M)``."""
    mel = standardised(log_mel(waveform), correction=1)
    padding = 200 - len(mel) % 200
    mel = np.concatenate([mel, np.zeros((padding, 80))])
    out = []
    for start in range(0, len(mel), 200):
        tokens = encode(embed(patches_of(mel[start : start + 200]), weights), weights)[-1]
        # As if all times of a band lay together: (f t) d -> t (f d), though they lie as (t f).
        out += [np.concatenate([tokens[f * 50 + t] for f in range(5)]) for t in range(50)]
    tail = int(50 * padding / 200)
    return np.array(out[:-tail] if tail else out)


def released(model):
    """A model's weights by the released code's names, in float64."""
    return {name.removeprefix("audio_mamba."): value.double().numpy() for name, value in model.state_dict().items()}
