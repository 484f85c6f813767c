"""Writes recognisers in Hugging Face format: an encoder with a head for CTC, and a tokenizer."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_CTC_MAPPING, PretrainedConfig, Wav2Vec2CTCTokenizer

from nonverbal.data.transcripts import BLANK, DELIMITER, UNKNOWN, Vocabulary
from nonverbal.errors import UserError
from nonverbal.models.tuned.base import TunedEncoder


def check_recogniser(encoder: TunedEncoder) -> None:
    """Refuse an encoder for which no recogniser can be written.

    Raises:
        UserError: transformers has no class for CTC with this kind of encoder.
    """
    if type(encoder.config) not in MODEL_FOR_CTC_MAPPING:
        raise UserError(
            f"{encoder.source} is a {encoder.model_type!r} model, but transformers has no CTC recogniser for such "
            "models; give a wav2vec 2.0, HuBERT, WavLM, UniSpeech-SAT or data2vec encoder (init), or learn classes "
            "instead (task: classes)"
        )


def write_recogniser(
    encoder: TunedEncoder,
    vocabulary: Vocabulary,
    dropout: float,
    weights: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    folder: Path,
) -> None:
    """Write a folder for ``AutoModelForCTC`` and ``pipeline("automatic-speech-recognition", model=folder)``.

    Args:
        encoder: of the recogniser.
        vocabulary: the tokens of the head's outputs.
        dropout: share of the values of the encoder's output that training dropped.
        weights: of the encoder, by the names of its ``model``.
        head: ``weight`` and ``bias``.
        folder: to be written.
    """
    config = _with_vocabulary(encoder.config, vocabulary, dropout)
    kind: Any = MODEL_FOR_CTC_MAPPING[type(config)]
    # The given weights are written, so the model needs none of its own.
    with torch.device("meta"):
        model = kind(config)
    prefix = model.base_model_prefix + "."
    state = {prefix + name: value for name, value in encoder.plain(weights).items()}
    model.save_pretrained(folder, state_dict=state | {f"lm_head.{name}": value for name, value in head.items()})
    encoder.save_reading(folder)
    _write_tokenizer(vocabulary, folder)


def _with_vocabulary(config: PretrainedConfig, vocabulary: Vocabulary, dropout: float) -> PretrainedConfig:
    config = copy.deepcopy(config)
    config.vocab_size, config.final_dropout = len(vocabulary.tokens), dropout
    config.pad_token_id, config.ctc_loss_reduction, config.ctc_zero_infinity = 0, "sum", False
    return config


def _write_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    path = folder / "vocab.json"
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    path.write_text(json.dumps(numbers, ensure_ascii=False), encoding="utf-8")
    Wav2Vec2CTCTokenizer(
        str(path),
        bos_token=None,
        eos_token=None,
        unk_token=UNKNOWN,
        pad_token=BLANK,
        word_delimiter_token=DELIMITER,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
