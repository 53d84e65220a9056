#!/bin/sh
# The environment of benchmark-mi (pinned: it needs an old jax). Usage: benchmarks/bmi/install.sh [FOLDER]
set -eu
folder=${1:-bmi-env}
test -x "$folder/bin/python" || "${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install -qq --disable-pip-version-check \
    'jax==0.4.30' 'jaxlib==0.4.30' 'scipy<1.13' 'benchmark-mi==0.1.3'
