#!/usr/bin/env bash
# The content encoder on a GPU that is lent for ten minutes: ten_minutes.sh PACKED RUN [BASE]
# PACKED is a corpus packed by `python -m training.pack`, RUN the folder of the run, BASE an encoder to begin with. Run
# again with the same RUN it goes on; what matters of a run is encoder.safetensors, written every 100 steps. SECONDS_LIMIT
# (540) ends it in time, STEPS (4000) sets how the learning rate falls: choose what the machine does in that time.
set -euo pipefail
packed=$1 run=$2 base=${3:-weights/anivoice-content-2.safetensors}
export OMP_NUM_THREADS=1
device=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
timeout --signal=INT "${SECONDS_LIMIT:-540}" python -m anivoice train content "$packed" "$run" --base "$base" --device "$device" \
    --precision "$([ "$device" = cuda ] && echo bf16 || echo fp32)" --processes "$(nproc)" \
    --steps "${STEPS:-4000}" --batch-clips "${BATCH_CLIPS:-64}" --learning-rate 2e-3 || [ $? -eq 124 ]
ls -l "$run"/encoder.safetensors
