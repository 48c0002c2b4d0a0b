#!/bin/sh
# Train small DGs of several kinds from nothing, all alike, to compare them behind SRd at 96x96.
#
#     scripts/train_enhancers.sh PICTURES OUT [NAME...]
#
# PICTURES holds the folders train and valid; OUT gets one run for each NAME: compact, srcnn, srresnet and hdrnet.
# All have the same pictures, in the same order, and the same objective: the answers of the small classifier.
# Together they take less than an hour of two cores. The same command goes on with what was interrupted.
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
fi
pictures=$1 out=$2
shift 2

train() {  # name, enhancer
    rain train accuracy --resume --out "$out/$1" \
        --images "folder:$pictures/train(labels=sorted)" --validation "folder:$pictures/valid(labels=sorted)" \
        --set 'classifier=small_resnet(weights=imagenette)' --set "defense=rain(enhancer=$2)" --set side=96 \
        --set pixel=3 --set feature=1 --set rate=5e-4 --set batch=32 --set steps=1500 \
        --set validate_every=500 --set validation_images=200 --set average=0.998
}

for name in "${@:-}"; do
    case $name in
    '') "$0" "$pictures" "$out" compact srcnn srresnet hdrnet ;;
    compact) train "$name" 'compact(weights=None)' ;;
    srcnn) train "$name" 'srcnn(weights=None)' ;;
    srresnet) train "$name" 'srresnet(weights=None, features=32, blocks=2)' ;;
    hdrnet) train "$name" 'hdrnet(weights=None)' ;;
    *) echo "no such enhancer: $name" >&2 && exit 2 ;;
    esac
done
