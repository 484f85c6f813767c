"""Runs the program that is named first; the second process sees another --out, as on a machine that shares none."""

import os
import runpy
import sys

del sys.argv[0]
if os.environ["RANK"] == "1":
    sys.argv = [argument + "-elsewhere" if argument.startswith("--out=") else argument for argument in sys.argv]
runpy.run_path(sys.argv[0], run_name="__main__")
