#!/usr/bin/env bash
# Writes the locks from pyproject.toml: every package with its version and the hashes of all its
# files on the public package index, for every Python and platform that pyproject.toml allows.
#
# Usage: bench/lock.sh            keep the versions that are locked, lock what is new
#        bench/lock.sh --upgrade  take the newest versions
#
# Each lock is complete in itself (openvino holds the project's dependencies, requirements.lock those
# without OpenVINO, server and test the extras too, signing that extra alone), and a package has the
# same version in all of them: the others are cut from the largest.
# Settings of this machine (mirrors, private indexes, pip's configuration) have no influence.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

UV_VERSION=0.13.9
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name in $(compgen -e UV_ || true); do unset "$name"; done
python3 -m venv "$scratch/env"
"$scratch/env/bin/pip" install --quiet --only-binary :all: "uv==$UV_VERSION"

compile() { # compile LOCK SOURCE ARGUMENTS...: into the scratch folder: a failure leaves the old
    local lock=$1 source=$2
    shift 2
    [ ! -f "$lock" ] || cp "$lock" "$scratch/$lock"
    UV_NO_CONFIG=1 UV_CACHE_DIR="$scratch/cache" "$scratch/env/bin/uv" pip compile "$source" \
        --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --system-certs --no-strip-extras --output-file "$scratch/$lock" "$@" >/dev/null
    # A pip older than 24.0 wants a package that something asks for with an extra pinned both ways.
    python3 -c 'import re, sys
text = re.sub(r"^([a-z0-9-]+)\[.*\]((?:.*\\\n)+.*\n)", r"\1\2\g<0>", sys.stdin.read(), flags=re.M)
sys.stdout.write(text)' <"$scratch/$lock" >"$scratch/both"
    mv "$scratch/both" "$scratch/$lock"
    if grep -nE '://|index-url|find-links|@ |/' "$scratch/$lock"; then
        echo "$lock would name a place; a lock holds versions and hashes only" >&2
        exit 1
    fi
    # The environments of the program fetch wheels; that of signing does not.
    [ "$source" != pyproject.toml ] || grep -q '^pip==' "$scratch/$lock" || {
        echo "$lock would lack pip" >&2
        exit 1
    }
}

all=requirements-test.lock
compile "$all" pyproject.toml --all-extras "$@"
# An override takes a package and what only it needs out of the resolution: no Python is that old.
echo "openvino ; python_version < '3'" >"$scratch/no-openvino"
compile requirements.lock pyproject.toml --constraint "$scratch/$all" --override "$scratch/no-openvino"
compile requirements-openvino.lock pyproject.toml --constraint "$scratch/$all"
compile requirements-server.lock pyproject.toml --extra server --constraint "$scratch/$all"
python3 -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["signing"], sep="\n")
' >"$scratch/signing.in"
compile requirements-signing.lock "$scratch/signing.in" --constraint "$scratch/$all"
for lock in "$scratch"/requirements*.lock; do
    lock=${lock##*/}
    cp "$scratch/$lock" "$lock"
    echo "$lock: $(grep -c '==' "$lock") packages"
done
