#!/usr/bin/env bash
# Parity on the device first, then the figures, which have to lie near the predicted ones; from a checkout, with torch, triton, numpy and pytest installed and nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
unset TRITON_INTERPRET
"$PYTHON" tests/parity/bare.py tests/parity/test_kernels_gpu.py
"$PYTHON" -m benchmarks.gpu.bench_gpu "$@"
"$PYTHON" -m benchmarks.gpu.ledger --compare
