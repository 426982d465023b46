#!/bin/sh
# The whole program on drawn scenes; echoes the commands as it runs them.
set -eu
PYTHON=${PYTHON:-python}
OUT=demo
# The networks are small: threads that wait for each other would take most of the time.
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"

step() {
    echo
    echo "\$ python $*"
    "$PYTHON" "$@"
}

rm -rf "$OUT"
step -m data.draw_scenes $OUT/scenes
step -m data.train_cnn $OUT/scenes -o $OUT/scenes.caffemodel
step extract_features.py -i $OUT/scenes.caffemodel --dataset $OUT/scenes/dataset.json \
    --image-root $OUT/scenes -o $OUT/features.mat \
    --layer prob --image-size 96 --mean 220 220 220
step preprocess_vocab.py $OUT/scenes/dataset.json -o $OUT/captions.h5
step train.py @recipes/demo.args -s $OUT/captions.h5 -i $OUT/features.mat -o $OUT/result
step generate_caption.py -m $OUT/result/best.h5 -i $OUT/scenes.caffemodel \
    --top 1 --json $OUT/captions.json $OUT/scenes/test
step -m data.score_scenes $OUT/scenes $OUT/captions.json
step -m data.contact_sheet $OUT/captions.json -o $OUT/contact_sheet.png
