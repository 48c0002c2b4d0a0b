#!/bin/sh
# Train the baselines of RAIN: the small classifier of ten classes, made robust by adversarial training.
#
#     scripts/train_robust.sh PICTURES OUT [NAME...]
#
# PICTURES holds the folders train and valid, each with one subfolder for each class; OUT gets one run for each NAME:
# madry1, madry2, madry4 (budgets of 1/255, 2/255, 4/255) and trades4. Each begins with the shipped classifier and
# takes about half an hour of a core. The same command goes on with what was interrupted.
set -eu
if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
fi
pictures=$1 out=$2
shift 2

train() {  # recipe, attack, budget, name
    rain train "$1" --resume --out "$out/$4" \
        --images "folder:$pictures/train(labels=sorted)" --validation "folder:$pictures/valid(labels=sorted)" \
        --set 'classifier=small_resnet(weights=imagenette)' --set "attack=$2" --set "eps=$3" \
        --set epochs=6 --set rate=0.02 --set validate_every=142 --set average=0.99
}

for name in "${@:-}"; do
    case $name in
    '') "$0" "$pictures" "$out" madry1 madry2 madry4 trades4 ;;
    madry1) train madry 'pgd(steps=3, step=0.5/255, confidence=inf)' 1/255 "$name" ;;
    madry2) train madry 'pgd(steps=3, step=1/255, confidence=inf)' 2/255 "$name" ;;
    madry4) train madry 'pgd(steps=3, step=2/255, confidence=inf)' 4/255 "$name" ;;
    trades4) train trades 'pgd(steps=3, step=2/255, loss=kl, confidence=inf)' 4/255 "$name" ;;
    *) echo "no such baseline: $name" >&2 && exit 2 ;;
    esac
done
