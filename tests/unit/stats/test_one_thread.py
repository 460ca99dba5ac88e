"""The same bits from one thread and from several."""

import os
import subprocess
import sys

import numpy as np
import threadpoolctl

from laminar_lens.stats.one_thread import one_thread

STATISTICS = """
import hashlib
import numpy as np
from laminar_lens.stats.bootstrap import mean_interval, simultaneous_band
from laminar_lens.stats.intervals import mean_shift_interval
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.stats.warmup_intervals import intervals
from laminar_lens.stats.warmup_power import correlated_normals
from laminar_lens.stats.warmup_costs import Plan, vector_costs
from laminar_lens.stats.sinks import nearest_cosine

rng = np.random.default_rng(0)
found = []
for n, layers, pairs in ((24, 9, 63), (37, 5, 101), (90, 3, 17)):
    x = rng.normal(size=(n, layers, pairs))
    found += intervals(x, 0.95, 600, np.random.default_rng(1))
    found.append(correlated_normals(x, 0))
    found += [simultaneous_band(x, seed=0).low, mean_interval(x, seed=0).high]
    found.append(sign_flip(x[:, :, 0], seed=0).p)
    plan = Plan(pairs, slice(pairs // 2, pairs), (pairs, 2 * pairs), (0, 3))
    costs = vector_costs(rng.normal(size=(n, pairs, 64)), plan)
    found += [part for one in costs for part in (one.bias, one.spread)]
    found.append(nearest_cosine(rng.normal(size=(500, 64)), rng.normal(size=(7, 64))))
print(*(hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()[:16] for a in found))
"""


def test_statistics_do_not_depend_on_the_number_of_threads():
    printed = []
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", STATISTICS], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    assert printed[0] == printed[1] == printed[2]


def test_the_number_of_threads_is_put_back():
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    np.eye(2) @ np.eye(2)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        assert one_thread(threads)() <= {1}
        assert threads() == before
