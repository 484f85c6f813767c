"""Make the units that HuBERT is pretrained on: ``nonverbal cluster --data SHARDS --out UNITS``.

By path: ``python pretrain/cluster.py --data SHARDS --out UNITS``. Cluster MFCCs first; then, with ``--features
RUN/encoder --layer 6 --clusters 500``, a layer of the encoder that was pretrained on the first units. The command
prints how many units are in use, and how much they reveal about the corpora's labels.
"""

from typing import Any

from nonverbal import cli, config
from nonverbal.files import room_for
from nonverbal.stages.clustering import ClusterConfig, cluster


def main(argv: list[str]) -> None:
    """Cluster, and print the result."""
    settings = config.load(ClusterConfig, argv, prog="nonverbal cluster", description=__doc__)
    with room_for(settings.out):
        facts = cluster(settings)
    print("\n".join(account(facts)))
    print(f"units: {settings.out}; pretrain on them with: --family hubert --hubert.units {settings.out}")


def account(facts: dict[str, Any]) -> list[str]:
    """Return lines that describe the units."""
    hours = facts["frames"] / 50 / 3600
    lines = [
        f"{hours:.2f} h; {facts['used']} of {facts['clusters']} units in use, perplexity {facts['perplexity']:.1f}"
    ]
    if labels := facts.get("labels"):
        lines.append(
            f"corpus labels: purity {labels['purity']:.3f} (all in one unit: {labels['largest_class']:.3f}), "
            f"a unit carries {labels['label_information']:.1%} of the label's information"
        )
    return lines


if __name__ == "__main__":
    cli.run(main)
