"""Every command that the pages show is one that the programs understand."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from nonverbal import cli, config
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.stages.pretraining import PretrainConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
CONFIGS = {
    "prepare": "PrepareConfig",
    "cluster": "ClusterConfig",
    "plan": "PlanConfig",
    "launch-check": "CheckConfig",
    "pretrain": "PretrainConfig",
    "submit": "SubmitConfig",
    "convert": "ConvertConfig",
    "compare": "CompareConfig",
    "audit": "AuditConfig",
    "folds": "FoldsConfig",
    "embed": "EmbedConfig",
    "finetune": "FinetuneConfig",
    "predict": "PredictConfig",
    "probe": "ProbeConfig",
    "fuse": "FuseConfig",
    "scores": "ScoresConfig",
    "study": "StudyConfig",
    "report": "ReportConfig",
    "release": "ReleaseConfig",
    "verify": "VerifyConfig",
    "demo": "DemoConfig",
}


def commands(text):
    """Return the lines of code blocks that begin with ``nonverbal``, those that are continued as one."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for line in "".join(blocks).replace("\\\n", " ").splitlines() if line.startswith("nonverbal ")]


# What add-a-family.md shows is understood where the page has been followed: tests/families/test_add_a_family.py.
FOLLOWED = ROOT / "docs/add-a-family.md"
SHOWN = [(page.name, line) for page in PAGES if page != FOLLOWED for line in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_is_understood(page, line):
    command, *argv = shlex.split(line, comments=True)[1:]
    if command == "analyze":
        import_module("evaluate.analyze").parsed(argv)
        return
    if command not in CONFIGS or argv[:1] in (["--help"], ["--verify"], ["--log-mel"]):
        assert command in cli.PROGRAMS
        return
    module = import_module(cli.PROGRAMS[command][0].removesuffix(".py").replace("/", "."))
    # Programs whose first arguments stand without their keys.
    if command == "submit":
        own, passed = module.split(argv)
        if "--finetune" in own:
            recipe = own[own.index("--finetune") + 1]
            config.load(FinetuneConfig, [recipe, *passed, "--out=x", "--data=x"], "nonverbal finetune", "")
        else:
            config.load(PretrainConfig, [*passed, "--out", "runs/x"], "nonverbal pretrain", "")
        argv = module.with_cluster(own)
    keyed = {"prepare": "with_corpora", "compare": "with_encoders", "audit": "with_folders"}
    keyed |= {"scores": "with_paths", "report": "with_paths", "predict": "with_model"}
    first = {"convert": "source", "release": "source", "verify": "source", "study": "study"}
    argv = config.with_first(argv, first[command]) if command in first else argv
    argv = getattr(module, keyed[command])(argv) if command in keyed else argv
    config.load(getattr(module, CONFIGS[command]), argv, f"nonverbal {command}", "")


def test_pages_link_to_pages_that_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
