#!/bin/sh
# Installs benchmark-mi (Czyz et al. 2023, arXiv 2306.11078) into a virtual environment of its own: its jax and scipy
# are older than anything collabplan runs on.
#
#     benchmarks/bmi/install.sh FOLDER          (PYTHON=python3.11 names another interpreter; 3.10 to 3.12 have wheels)
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER   (where the virtual environment is made)" >&2
    exit 2
fi
test -x "$1/bin/python" || "${PYTHON:-python3}" -m venv "$1"
"$1/bin/python" -m pip install -qq --disable-pip-version-check \
    "jax==0.4.30" "jaxlib==0.4.30" "scipy<1.13" "benchmark-mi==0.1.3"
"$1/bin/python" -c "import bmi; print(len(bmi.benchmark.BENCHMARK_TASKS), 'tasks installed')"
