#!/usr/bin/env bash
# Parity on the device first, then the figures; from a checkout with `pip install -e ".[gpu,dev]"` done.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
unset TRITON_INTERPRET
"$PYTHON" -m pytest tests/parity/test_kernels_gpu.py
"$PYTHON" -m benchmarks.gpu.bench_gpu "$@"
