#!/bin/sh
# Runs benchmarks/gpu.py on a machine without network that has Python (3.11 or newer) with torch for its GPU.
#
#   sh benchmarks/on_device.sh wheels [PYTHON]          before, with network: fetch what such a machine lacks
#   sh benchmarks/on_device.sh MINUTES OUT [OPTION …]   there: install it beside torch, then run gpu.py
#
# PYTHON is the version of Python there, 3.12 if left out. The wheels (10 MB) lie in .wheels/, which git ignores:
# they must travel with the working tree. The machine's own packages stay as they are.
set -eu
cd "$(dirname "$0")/.."
BEGUN=$(date +%s)

# What fishtune needs beside torch, torchaudio, lightning, peft, tensorboard, tiktoken, typer, psutil and pytest
# with their own needs. protobuf, since its version must be that of the generated code or newer; nothing for the
# wizard or for downloads.
MISSING="annotated-types cffi platformdirs protobuf pycparser pydantic pydantic_core pyloudnorm soundfile \
tomli_w tomlkit typing-inspection typing_extensions"

if [ "$1" = wheels ]; then
    PLATFORMS=
    for name in 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do  # pip takes none but those that are named
        PLATFORMS="$PLATFORMS --platform manylinux_${name}_x86_64"
    done
    for name in manylinux2014 manylinux2010 manylinux1; do
        PLATFORMS="$PLATFORMS --platform ${name}_x86_64"
    done
    mkdir -p .wheels
    for name in $MISSING; do
        pinned=$(grep -i "^$name==" constraints.txt)
        python3 -m pip download --quiet --no-deps --only-binary=:all: --dest .wheels \
            --python-version "${2:-3.12}" --implementation cp $PLATFORMS "$pinned"
    done
    ls -sh .wheels
    exit
fi

MINUTES=$1 OUT=$2
shift 2
SITE=$(mktemp -d)
trap 'rm -rf "$SITE"' EXIT
WHEELS=$(find .wheels -name '*.whl' 2>/dev/null || true)
if [ -n "$WHEELS" ]; then
    # Without their dependencies, which the machine has.
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
        --disable-pip-version-check --root-user-action=ignore --target "$SITE" $WHEELS
fi
# fishtune as an installation would have it, without building one: setuptools there may be too old for that.
mkdir "$SITE/fishtune" "$SITE/fishtune-0.dist-info"
for part in core tui presets; do ln -s "$PWD/$part" "$SITE/fishtune/$part"; done
printf 'Metadata-Version: 2.1\nName: fishtune\nVersion: 0\n' >"$SITE/fishtune-0.dist-info/METADATA"
export PYTHONPATH="$SITE" PYTHONUNBUFFERED=1
LEFT=$(python3 -c "import sys; print(float(sys.argv[1]) - float(sys.argv[2]) / 60)" \
    "$MINUTES" "$(($(date +%s) - BEGUN))")
python3 benchmarks/gpu.py --minutes "$LEFT" --out "$OUT" "$@"
