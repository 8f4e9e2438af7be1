"""What `predict` imports: most of the time of one photograph is the program's start."""

import subprocess
import sys

SLOW = ("sklearn", "scipy.signal", "scipy.stats", "tensorflow_datasets")


def test_packages_that_a_photograph_does_not_need_are_not_imported():
    code = f"""
import sys
import rffr_jax.predict.predict, rffr_jax.predict.file_scorer
print([name for name in {SLOW} if name in sys.modules])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout.strip() == "[]"
