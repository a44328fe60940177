"""What Tab completes, asked of real shells, and what a mistyped option or command suggests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fishtune.core.cli.app import run
from fishtune.core.config.presets import user_presets_folder
from fishtune.core.config.run_files import checkpoint_path

_BASH = """\
source <(fishtune --show-completion)
function=$(complete -p fishtune | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
for line; do
    read -ra COMP_WORDS <<< "$line"
    [[ "$line" == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $function fishtune
    echo "${COMPREPLY[@]}"
done
"""
_ZSH = """\
autoload -Uz compinit && compinit -u
_arguments() { print -r -- ${(j: :)${(f)1}} | sed 's/^.*((//; s/)).*$//; s/:"[^"]*"//g; s/"//g' }
_files() { print }
source <(fishtune --show-completion)
for line; do
    words=(${(z)line})
    [[ "$line" == *" " ]] && words+=("")
    CURRENT=$#words
    _fishtune_completion
done
"""
_FISH = """\
fishtune --show-completion | source
for line in $argv
    echo (complete -C $line | string replace -r '\\t.*' '')
end
"""
SHELLS = {
    "bash": ("bash", "--norc", "-c", _BASH, "bash"),
    "zsh": ("zsh", "-f", "-c", _ZSH, "zsh"),
    "fish": ("fish", "--no-config", "-c", _FISH),
}
"""How each shell is asked what it completes behind lines; it answers with a line for each."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project with one run of two checkpoints; `fishtune` is on the PATH."""
    program = tmp_path / "bin" / "fishtune"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m fishtune.core.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    folder = tmp_path / "voice"
    folder.mkdir()
    (folder / "fishtune.toml").write_text('name = "gentle-2"\n')
    for step in (100, 200):
        path = checkpoint_path(folder / "results" / "gentle-2", step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "results" / "gentle-2" / "jobs").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_presets_runs_and_checkpoints(shell: str, project: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} IS NOT INSTALLED: what it completes is not tested here")
    steps = [f"results/gentle-2/checkpoints/step_000000{step}.ckpt" for step in (100, 200)]
    expected = {
        "fishtune tra": ["train"],
        "fishtune start merge --lora-w": ["--lora-weight"],
        "fishtune train --lora-config r_8": ["r_8_alpha_16"],
        "fishtune report ge": ["gentle-2"],
        "fishtune merge --lora-weight ": steps,
    }
    done = subprocess.run([*SHELLS[shell], *expected], capture_output=True, text=True, check=True)
    answers = [line.split() for line in done.stdout.splitlines()]
    assert (dict(zip(expected, answers, strict=True)), done.stderr) == (expected, "")


def test_what_is_installed_for_a_shell_is_there_when_it_starts(project: Path) -> None:
    subprocess.run(["bash", "-c", "fishtune --install-completion; exit $?"], capture_output=True, check=True)
    start = f"source {shlex.quote(os.environ['HOME'])}/.bashrc; complete -p fishtune"
    done = subprocess.run(["bash", "-c", start], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("-F _fishtune_completion fishtune\n")


def test_completing_says_nothing_of_files_that_cannot_be_read_and_loads_no_torch(project: Path) -> None:
    own = user_presets_folder() / "lora"
    own.mkdir(parents=True)
    (own / "broken.toml").write_text("[")
    (project / "fishtune.toml").write_text("name = [")
    program = (
        "import sys; from fishtune.core.cli.app import run\n"
        "code = run([]); print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    for line, answer in (("fishtune train --lora-config b", "broken"), ("fishtune report ge", "gentle-2")):
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env=os.environ
            | {"_FISHTUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout.strip(), done.stderr) == (answer, "0 False\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("train --lr 3", "fishtune train has no option --lr.\n  → Did you mean --learning-rate? "),
        ("train --learnin-rate=3", "Did you mean --learning-rate? "),
        ("train --batch_tokens 3", "Did you mean --batch-tokens? "),
        ("train --bs 3", "Did you mean --batch-tokens? "),
        ("extract --bs 3", "Did you mean --batch-size? "),
        ("train --steps 3", "Did you mean --max-steps? "),
        ("merge --ckpt x", "Did you mean --lora-weight? "),
        ("start extract --workers 2", "Did you mean --num-workers? "),
        ("jobs --xyzzy", "fishtune jobs has no option --xyzzy.\n  → See what it takes with: fishtune jobs"),
        ("trian", "There is no command trian.\n  → Did you mean train? "),
        ("start trian", "Did you mean train? See what it takes with: fishtune start --help"),
        ("extract_vq.py", "Did you mean extract? "),
        ("build_dataset", "Did you mean pack? "),
    ],
)
def test_what_does_not_exist_suggests_what_was_meant(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split()) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_run_names_the_near_one_or_all(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "gentle2", "gentle-2"]) == 2
    assert "There is no run gentle2 here.\n  → Did you mean gentle-2?" in capsys.readouterr().err
    assert run(["compare", "gentle-2", "other"]) == 2
    assert "The runs of this folder are gentle-2." in capsys.readouterr().err
