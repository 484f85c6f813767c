"""HuBERT: the encoder of wav2vec 2.0, pretrained by telling masked frames' units (Hsu et al., 2021)."""

from collections.abc import Iterable

from nonverbal.data.batching.unit_targets import UnitSampler
from nonverbal.data.batching.units import open_units
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.families import wav2vec2
from nonverbal.families.base import Family, Pretraining
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective


def build(settings: HubertSettings, folders: list[ShardFolder], seed: int, begun: Iterable[str] | None) -> Pretraining:
    """Look up the units of each row, which are learned.

    Raises:
        UserError: there are none, or none of a folder of shards.
    """
    if settings.units is None:
        raise UserError("HuBERT learns units: make them with nonverbal cluster, and name their folder: --hubert.units")
    units = open_units(settings.units)
    objective = build_hubert_objective(settings, units.clusters, seed)
    sampler = UnitSampler(objective.target_sampler, [units.units(folder) for folder in folders])
    return Pretraining(objective, sampler, {str(units.folder): units.sha256})


FAMILY = Family(
    name="hubert",
    settings=HubertSettings,
    build=build,
    encoders=wav2vec2.ENCODERS,
    # wav2vec 2.0's alone: HuBERT has no codebooks.
    past={
        "architecture.codebooks": 2,
        "architecture.codes": 320,
        "architecture.code_size": 256,
        "dropouts.quantiser": 0.1,
    },
)
