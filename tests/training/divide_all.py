"""Runs the program that is named first with ZeRO 3 dividing weights of any size; DeepSpeed leaves small ones whole."""

import runpy
import sys

from nonverbal.training import zero

config_of = zero._deepspeed_config


def dividing(*arguments):
    config = config_of(*arguments)
    config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return config


zero._deepspeed_config = dividing
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
