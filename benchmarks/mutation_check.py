"""Does the suite notice a broken engine? Breaks random lines of core/, one at a time, and runs the tests.

    python benchmarks/mutation_check.py [--seed 1] [--count 20] [--list] [--only N] [--timeout 1200]

Each line is broken in a copy of the tree that has an environment of its own, so that processes started by
tests run the broken engine too. Tests that import the broken module come first, then those nearest to it in
the graph of imports. A test counts only if it passes in a copy that is whole; one that takes too long counts.
What is known is kept in build/mutation_check.jsonl: run it again to go on after an interruption.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from import_graph import arrows, imports_of, modules

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "mutation_check.jsonl"
GENERATED = {"core/shards/text_data_pb2.py"}
SWAPPED = {
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"in": "not in", "not in": "in", "is": "is not", "is not": "is", "+": "-", "-": "+"},
}
OPERATOR = re.compile(r"not\s+in|is\s+not|in|is|<=|>=|==|!=|<|>|\+|-")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutation:
    """One change of one line."""

    file: str
    line: int
    kind: str
    begin: int
    """Of what is replaced, in bytes of the file."""
    end: int
    text: str

    def applied(self, source: bytes) -> bytes:
        """Return the broken file."""
        return source[: self.begin] + self.text.encode() + source[self.end :]

    def __str__(self) -> str:
        source = (ROOT / self.file).read_bytes()
        before, after = (
            " ".join(content[begin:].decode(errors="replace").split("\n")[0].split())
            for content in (source, self.applied(source))
            for begin in (source.rfind(b"\n", 0, self.begin) + 1,)
        )
        return f"{self.file}:{self.line} {self.kind}\n     - {before}\n     + {after}"


def main() -> None:
    """Break, test and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--list", action="store_true", help="Show what would be broken and end.")
    parser.add_argument("--only", type=int, help="Number of the one to try, from 1.")
    parser.add_argument("--timeout", type=float, default=1200.0, help="Seconds for one run of pytest.")
    options = parser.parse_args()
    picked = list(enumerate(pick(options.seed, options.count), 1))
    if options.only is not None:
        picked = [picked[options.only - 1]]
    rows = []
    for number, mutation in picked:
        by = "" if options.list else _known(mutation)
        if not options.list and by is None:
            by = noticed_by(mutation, options.timeout)
            _keep(mutation, by)
        rows.append((number, mutation, by))
        print(f"{number:>3}  {mutation}\n     {by or ('' if options.list else 'NOT NOTICED')}", flush=True)
    if not options.list:
        print(f"{sum(bool(by) for _, _, by in rows)} of {len(rows)} noticed")


def pick(seed: int, count: int) -> list[Mutation]:
    """Return what is broken: in each room of core/ as much as its share of the lines, at places drawn."""
    rooms: dict[str, dict[tuple[str, int], list[Mutation]]] = {}
    for path in sorted((ROOT / "core").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name in GENERATED:
            continue
        room = rooms.setdefault("/".join(name.split("/")[1:-1][:1]), {})
        for mutation in mutations(name, path.read_bytes()):
            room.setdefault((mutation.file, mutation.line), []).append(mutation)
    draws = random.Random(seed)
    lines = sum(map(len, rooms.values()))
    shares = {room: count * len(places) / lines for room, places in rooms.items()}
    counts = {room: int(share) for room, share in shares.items()}
    for room in sorted(shares, key=lambda room: counts[room] - shares[room])[: count - sum(counts.values())]:
        counts[room] += 1
    return [
        draws.choice(rooms[room][place])
        for room in sorted(rooms)
        for place in sorted(draws.sample(sorted(rooms[room]), counts[room]))
    ]


def mutations(name: str, source: bytes) -> Iterator[Mutation]:
    """Yield every change of a file that the check knows."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(node: ast.AST) -> tuple[int, int]:
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def swap(kind: str, node: ast.AST, left: ast.AST, right: ast.AST) -> Iterator[Mutation]:
        begin, end = place(left)[1], place(right)[0]
        between = source[begin:end].decode()
        found = OPERATOR.search(between)
        operator = " ".join(found[0].split()) if found else ""
        if found and operator in SWAPPED:
            text = between[: found.start()] + SWAPPED[operator] + between[found.end() :]
            yield Mutation(name, node.lineno, kind, begin, end, text)

    for node in _executed(ast.parse(source)):
        match node:
            case ast.If() | ast.While() | ast.IfExp():
                begin, end = place(node.test)
                text = f"not ({source[begin:end].decode()})"
                yield Mutation(name, node.test.lineno, "negated", begin, end, text)
            case ast.Compare(ops=[_]):
                yield from swap("compared otherwise", node, node.left, node.comparators[0])
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                yield from swap("sign", node, node.left, node.right)
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                yield Mutation(name, node.lineno, "off by one", *place(node), str(number + 1))
            case (
                ast.Expr(value=ast.Call())
                | ast.AugAssign()
                | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
            ):
                yield Mutation(name, node.lineno, "dropped", *place(node), "pass")


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below `node` but for annotations, formatted texts and what only type checkers read."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or isinstance(value, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            yield child
            yield from _executed(child)


def noticed_by(mutation: Mutation, timeout: float) -> str:
    """Return the test that notices a mutation, `timeout`, or "" where none does."""
    first, others = _tests_for(mutation)
    with tempfile.TemporaryDirectory() as temporary:
        tree = Tree(Path(temporary) / "broken")
        (tree.folder / mutation.file).write_bytes(mutation.applied((ROOT / mutation.file).read_bytes()))
        whole: Tree | None = None
        for files, more in ((first, []), (others, ["-n", "2"])):
            left_out: list[str] = []
            while files:
                output = tree.test([*files, *more, *left_out], timeout)
                if output is None:
                    return "timeout"
                test = output and next(iter(FAILED.findall(output)), _last_line(output))
                if not test:
                    break
                whole = whole or Tree(Path(temporary) / "whole")
                if "::" not in test or whole.test([test], timeout) == "":
                    return test
                left_out += ["--deselect", test]
    return ""


class Tree:
    """A copy of the working tree with an environment whose `fishtune` it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        subprocess.run(["git", "init", "--quiet"], cwd=self.folder, check=True)
        venv.create(folder / "venv", symlinks=True)
        self._python = folder / "venv" / "bin" / "python"
        base = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
        packages = Path(sysconfig.get_path("purelib", vars=base))
        (packages / "fishtune").mkdir()
        for part in ("core", "tui", "presets"):
            (packages / "fishtune" / part).symlink_to(self.folder / part)
        # Folders named in a .pth are searched, but the .pth files in them, the finder of an editable
        # installation among them, are not obeyed.
        ours = [path for path in sys.path if Path(path).name == "site-packages"]
        (packages / "libraries.pth").write_text("\n".join(ours) + "\n")

    def test(self, arguments: list[str], timeout: float) -> str | None:
        """Return what pytest printed where a test failed, "" where none did, None where it took too long."""
        command = [str(self._python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            return output.read() if code not in (0, 5) else ""  # 5: every test was left out


def _tests_for(mutation: Mutation) -> tuple[list[str], list[str]]:
    """Return the test files that import the broken module, and the others, the nearest first."""
    known = modules(ROOT)
    broken = next(name for name, path in known.items() if path == ROOT / mutation.file)
    distance = {broken: 0}
    found = arrows(ROOT)
    reached = [broken]
    for module in reached:
        for arrow in found:
            if arrow.imported == module and arrow.importer not in distance:
                distance[arrow.importer] = distance[module] + 1
                reached.append(arrow.importer)
    far = len(known)
    nearness = {
        path.relative_to(ROOT).as_posix(): min(
            (distance.get(name, far) for name in _imported_by(path)), default=far
        )
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    files = sorted(nearness, key=lambda name: nearness[name])
    first = [name for name in files if nearness[name] == 0]
    return first, files[len(first) :]


def _imported_by(test: Path) -> set[str]:
    """Return the modules of the project that a test imports, itself or through a kit beside it."""
    known = modules(ROOT)
    found = set(imports_of("tests", test, known))
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            kit = test.parent / f"{node.module.split('.')[-1]}.py"
            if kit.is_file() and kit != test and not node.module.startswith("fishtune"):
                found |= set(imports_of("tests", kit, known))
    return found


def _known(mutation: Mutation) -> str | None:
    """Return who noticed this mutation before, "" for nobody; None where it was not tried."""
    if KEPT.is_file():
        for line in KEPT.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["mutation"] == _key(mutation):
                return str(entry["noticed_by"])
    return None


def _keep(mutation: Mutation, by: str) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a", encoding="utf-8") as kept:
        kept.write(json.dumps({"mutation": _key(mutation), "noticed_by": by}) + "\n")


def _key(mutation: Mutation) -> dict[str, object]:
    line = (ROOT / mutation.file).read_text(encoding="utf-8").splitlines()[mutation.line - 1]
    return {**asdict(mutation), "source": line}


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
