"""The project file: every choice, strict keys, nothing lost on the way through the disk."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from fishtune.core.cli.app import run as cli
from fishtune.core.config.presets import (
    LoraPreset,
    lora_preset,
    model_preset,
    preset_names,
    user_presets_folder,
)
from fishtune.core.config.project import PROJECT_FILE, Project, merge_record_path
from fishtune.core.config.recent import recent_projects, remember_project
from fishtune.core.config.strict import parse
from fishtune.core.errors import SettingsError, StorageError, UsageError
from fishtune.core.model.targets import match_targets


def test_what_was_chosen_survives_the_disk_and_nothing_else_is_written(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "내 프로젝트", "유나")
    project.train.max_steps = 300
    project.dataset.exclude.append("SPK/잡음")
    project.dataset = project.dataset.model_copy(update={"exclude": ["SPK/잡음"]})
    project.save()
    assert project.file.read_text(encoding="utf-8") == (
        'name = "유나"\n\n[dataset]\nexclude = [\n    "SPK/잡음",\n]\n\n[train]\nmax_steps = 300\n'
    )
    assert Project.load(tmp_path / "내 프로젝트") == project


def test_paths_are_relative_to_the_project_file(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "voice", dataset={"path": "recordings"})
    assert project.extract_settings().data == tmp_path / "recordings"
    assert project.pack_settings().output == tmp_path / "recordings" / "protos"
    assert project.train_settings().results == tmp_path / "results"
    assert project.run_folder == tmp_path / "results" / "voice"
    beside = Project.create(tmp_path / "voice", "voice", model={"path": "../base"})
    assert beside.base == tmp_path / "base"
    absolute = Project.create(tmp_path, "voice", model={"path": "/models/s1"})
    assert absolute.extract_settings().checkpoint_path == Path("/models/s1/codec.pth")


def test_a_typo_lists_what_is_valid_and_all_errors_come_together(tmp_path: Path) -> None:
    (tmp_path / PROJECT_FILE).write_text(
        'name = "x"\nlanguage = "ko"\n[train]\nmax_step = 3\nepochs = -1\n', encoding="utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        Project.load(tmp_path)
    message = caught.value.message
    assert message.startswith(f"{tmp_path / PROJECT_FILE} has 3 problems: ")
    assert "train.max_step is not a known key (did you mean max_steps?); " in message
    assert "train.epochs: input should be greater than 0 (the value is -1)" in message
    assert "language is not a known key; valid are name, dataset, model, " in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = [", "is not valid TOML"),
        (b'name = "\xff"', "is not valid TOML"),
        (b"", "name is missing"),
        (b'name = "a/b"', "name: it is used as a folder name: it must not be empty or contain / or"),
    ],
)
def test_a_damaged_project_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / PROJECT_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        Project.load(tmp_path)
    assert str(tmp_path / PROJECT_FILE) in caught.value.message


def test_a_missing_project_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist") as caught:
        Project.load(tmp_path)
    assert "fishtune init" in caught.value.hint


def test_a_value_of_the_file_wins_over_the_presets_and_the_presets_over_the_default(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "v", train={"lora_config": "gentle", "warmup_steps": 3})
    settings = project.train_settings()
    assert (settings.learning_rate, settings.warmup_steps) == (1e-5, 3)
    assert Project.create(tmp_path, "v", train={"lora_config": "r_8_alpha_16"}).train_settings() != settings


def test_a_limit_of_ones_own_replaces_the_presets(tmp_path: Path) -> None:
    own = Project.create(tmp_path, "v", train={"lora_config": "gentle", "max_steps": 900}).train_settings()
    assert (own.max_steps, own.epochs) == (900, None)
    assert Project.create(tmp_path, "v", train={"lora_config": "gentle"}).train_settings().epochs == 50


def test_merging_without_a_chosen_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names no checkpoint to merge") as caught:
        Project.create(tmp_path, "v").merge_settings()
    assert "[merge]" in caught.value.hint


def test_presets_are_listed_by_rank_and_every_one_is_valid() -> None:
    names = preset_names("lora")
    assert names.index("r_8_alpha_16") < names.index("r_16_alpha_16") < names.index("r_64_alpha_64")
    for name in names:
        preset = lora_preset(name)
        assert preset.description
        assert (preset.method == "full") == (preset.rank == 0)
    assert model_preset("openaudio-s1-mini").config["num_codebooks"] == 10


def test_the_documented_preset_is_the_documented_one() -> None:
    preset = lora_preset("r_8_alpha_16")
    assert (preset.rank, preset.alpha, preset.dropout) == (8, 16, 0.01)
    assert preset.train.semantic_loss_weight == 1.0
    assert lora_preset("r_16_alpha_16").train.semantic_loss_weight == 0.3


def test_a_persons_own_preset_joins_the_list_and_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "fishtune" / "presets" / "lora"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('description = "mine"\nrank = 4\nalpha = 4\ntargets = ["output"]\n')
    (folder / "gentle.toml").write_text('description = "gentler"\nrank = 2\nalpha = 2\n')
    assert "mine" in preset_names("lora")
    assert lora_preset("gentle").rank == 2
    (folder / "mine.toml").write_text('description = "mine"\nrang = 4\n')
    with pytest.raises(SettingsError, match="preset mine has 1 problem: rang is not a known key"):
        lora_preset("mine")


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ("rank = 0", "rank must be at least 1 where method is lora"),
        ("rank = 1000000000000", "rank: input should be less than or equal to"),
        ("alpha = 1e300", "alpha: input should be less than or equal to"),
    ],
)
def test_a_preset_that_gives_no_adapter_is_refused(changed: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong):
        parse(LoraPreset, {"description": "d", "rank": 4, "alpha": 4} | tomllib.loads(changed), "preset mine")


def test_a_base_lies_in_a_folder_of_its_name_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    for name, folder in (("s2-pro", "s2-pro"), ("somebody/s2-tuned", "s2-tuned")):
        project = Project.create(tmp_path, "voice", model={"name": name})
        assert project.base == tmp_path / "checkpoints" / folder
        assert project.download_settings().local_dir == project.base
    assert Project.create(tmp_path, "voice").base == tmp_path / "checkpoints/openaudio-s1-mini"
    assert Project.create(tmp_path, "voice", model={"name": "s2-pro", "path": "b"}).base == tmp_path / "b"


def test_a_new_project_takes_a_preset_or_a_directory_as_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["init", "a", "--model", "s2-pro"]) == 0
    (tmp_path / "s2-pro").mkdir()
    assert cli(["init", "b", "--model", "s2-pro"]) == 0
    named, there = Project.load(tmp_path / "a"), Project.load(tmp_path / "b")
    assert (named.model.name, named.base) == ("s2-pro", tmp_path / "a/checkpoints/s2-pro")
    assert there.base == tmp_path / "s2-pro"


def test_a_new_project_keeps_the_preset_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["init", "a", "--lora-config", "r_64_alpha_64"]) == 0
    assert Project.load(tmp_path / "a").train.lora_config == "r_64_alpha_64"


@pytest.mark.parametrize("target", ["layers(", "[wqkv", "a{999999999999}", "(" * 3000])
def test_a_target_that_is_not_a_regular_expression_is_named_before_a_model_is_built(target: str) -> None:
    with pytest.raises(SettingsError, match="is not a regular expression"):
        match_targets(["output", target], [])


@pytest.mark.parametrize(
    "content", ["{", '{"results": "/a\\u0000b", "project": "x"}', '{"results": 5}', "[" * 9999]
)
def test_a_damaged_note_of_a_project_hides_no_other(tmp_path: Path, content: str) -> None:
    (tmp_path / "results" / "one").mkdir(parents=True)
    remember_project(tmp_path / "results", "one")
    (user_notes,) = (Path(os.environ["XDG_STATE_HOME"]) / "fishtune" / "recent").iterdir()
    user_notes.with_name("0.json").write_text(content, encoding="utf-8")
    os.mkfifo(user_notes.with_name("1.json"))
    assert [entry.project for entry in recent_projects()] == ["one"]


@pytest.mark.parametrize("content", [b"\n" * 900_000 + b"x = 1,5", b"x = " + b" " * 900_000 + b"1,5"])
def test_the_hint_about_a_decimal_comma_takes_no_time(tmp_path: Path, content: bytes) -> None:
    (tmp_path / PROJECT_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=r"x = 1\.5"):
        Project.load(tmp_path)


def test_a_pipe_in_place_of_the_project_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / PROJECT_FILE)
    with pytest.raises(SettingsError, match="is a named pipe"):
        Project.load(tmp_path)


def test_a_merged_model_in_place_of_the_root_of_a_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is the root of a disk"):
        merge_record_path(Path("/"))
    assert merge_record_path(tmp_path / "a" / "..") == tmp_path.with_name(f"{tmp_path.name}.fishtune.json")


def test_an_unknown_preset_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="Did you mean r_8_alpha_16") as caught:
        lora_preset("r_8_alpha16")
    assert "r_32_alpha_32" in caught.value.hint
    with pytest.raises(UsageError):
        lora_preset("../models/openaudio-s1-mini")


def test_saving_keeps_the_files_rights_and_a_link_a_link(tmp_path: Path) -> None:
    real = tmp_path / "settings" / "voice.toml"
    real.parent.mkdir()
    real.write_text('name = "voice"\n')
    real.chmod(0o600)
    (tmp_path / PROJECT_FILE).symlink_to(real)
    project = Project.load(tmp_path)
    project.train.max_steps = 5
    project.save()
    assert (tmp_path / PROJECT_FILE).is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert real.read_text() == 'name = "voice"\n\n[train]\nmax_steps = 5\n'


# a file that somebody else changes meanwhile


def _two(tmp_path: Path) -> tuple[Project, Project]:
    made = Project.create(tmp_path, "v", train={"epochs": 3, "seed": 1}, dataset={"exclude": ["A/a", "A/b"]})
    made.save()
    return Project.load(tmp_path), Project.load(tmp_path)


def test_saving_puts_only_what_was_changed_on_top_of_the_file(tmp_path: Path) -> None:
    mine, yours = _two(tmp_path)
    yours.train.max_minutes = 5
    yours.train.seed = 9
    yours.merge.link = True
    yours.save()
    mine.train.epochs = 4
    mine.extract.batch_size = 2
    mine.save()
    now = Project.load(tmp_path)
    assert (now.train.epochs, now.train.seed, now.train.max_minutes) == (4, 9, 5)
    assert now.merge.link is True and now.extract.batch_size == 2
    assert mine == now, "what was saved over is taken over"


def test_a_value_taken_back_is_taken_out_of_the_file_and_nothing_else_is(tmp_path: Path) -> None:
    mine, yours = _two(tmp_path)
    yours.pack.num_workers = 3
    yours.save()
    mine.train = mine.train.model_copy()
    mine.train.model_fields_set.discard("seed")
    mine.save()
    now = Project.load(tmp_path)
    assert now.train.model_fields_set == {"epochs"} and now.pack.num_workers == 3


def test_clips_left_out_here_and_there_are_all_left_out(tmp_path: Path) -> None:
    mine, yours = _two(tmp_path)
    yours.dataset.exclude = ["A/b", "A/c"]
    yours.save()
    mine.dataset.exclude = ["A/a", "A/b", "A/d"]
    mine.save()
    assert Project.load(tmp_path).dataset.exclude == ["A/b", "A/c", "A/d"]


def test_the_file_is_not_written_where_nothing_was_changed(tmp_path: Path) -> None:
    mine, _yours = _two(tmp_path)
    edited = "# mine\n" + mine.file.read_text(encoding="utf-8").replace("seed = 1", "seed = 2")
    mine.file.write_text(edited, encoding="utf-8")
    mine.save()
    assert mine.file.read_text(encoding="utf-8") == edited and mine.train.seed == 2


@pytest.mark.parametrize("content", ["name = [", 'name = "v"\n[train]\nepochs = -1\n', None])
def test_a_file_that_became_unusable_or_went_is_not_written(tmp_path: Path, content: str | None) -> None:
    mine, _yours = _two(tmp_path)
    mine.file.unlink()
    if content is not None:
        mine.file.write_text(content, encoding="utf-8")
    mine.train.epochs = 8
    with pytest.raises(SettingsError, match=r"fishtune\.toml"):
        mine.save()
    with pytest.raises(SettingsError, match=r"fishtune\.toml"):
        mine.reread()
    assert not mine.is_as_on_disk()
    assert (mine.file.read_text(encoding="utf-8") if mine.file.exists() else None) == content
    assert mine.train.epochs == 8


def test_a_new_project_does_not_replace_one_that_came_into_being_meanwhile(tmp_path: Path) -> None:
    new = Project.create(tmp_path, "other")
    mine, _yours = _two(tmp_path)
    with pytest.raises(SettingsError, match="exists already"):
        new.save()
    assert Project.load(tmp_path) == mine


def test_what_the_file_could_not_be_read_with_is_not_saved(tmp_path: Path) -> None:
    mine, _yours = _two(tmp_path)
    before = mine.file.read_bytes()
    for change in ({"path": Path("\udcb0\udca1")}, {"exclude": ["A/\ud800"]}):
        mine.dataset = mine.dataset.model_copy(update=change)
        with pytest.raises(SettingsError, match="cannot be kept"):
            mine.save()
        assert mine.file.read_bytes() == before


def test_rereading_takes_over_the_disk_and_keeps_what_is_not_saved_yet(tmp_path: Path) -> None:
    mine, yours = _two(tmp_path)
    assert mine.is_as_on_disk() and mine.reread() is False
    yours.train.seed = 5
    yours.train.epochs = 6
    yours.save()
    mine.train.epochs = 7
    assert not mine.is_as_on_disk() and mine.reread() is True
    assert (mine.train.seed, mine.train.epochs) == (5, 7)
    mine.save()
    assert (Project.load(tmp_path).train.seed, Project.load(tmp_path).train.epochs) == (5, 7)


def test_taking_back_a_change_sets_only_what_it_changed_and_nobody_since(tmp_path: Path) -> None:
    mine, yours = _two(tmp_path)
    mine.train.epochs, mine.train.seed = 4, 8
    mine.extract.batch_size = 2
    mine.dataset.exclude = ["A/a"]
    change = mine.save()
    assert change is not None and mine.save() is None
    yours = Project.load(tmp_path)
    yours.train.seed, yours.train.max_minutes = 9, 5
    yours.save()
    mine.reread()
    undone = mine.take_back(change)
    assert undone == {
        ("train", "epochs"): 3.0,
        ("extract", "batch_size"): None,
        ("dataset", "exclude"): ["A/a", "A/b"],
    }
    mine.save()
    now = Project.load(tmp_path)
    assert (now.train.epochs, now.train.seed, now.train.max_minutes) == (3, 9, 5)
    assert now.extract.model_fields_set == set() and now.dataset.exclude == ["A/a", "A/b"]


def test_a_broken_preset_of_ones_own_is_named_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = user_presets_folder() / "lora"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('description = "mine"\nrang = 4\n')
    (folder / "torn.toml").write_text("[")
    (folder / "good.toml").write_text('description = "good"\nrank = 4\nalpha = 4\ntargets = ["output"]\n')
    assert cli(["presets"]) == 0
    told = capsys.readouterr()
    assert "good" in told.out and "r_64_alpha_64" in told.out and "mine " not in told.out
    assert "warning: preset mine has 1 problem: rang is not a known key (did you mean rank?)." in told.err
    assert "torn.toml is not valid TOML" in told.err
    assert cli(["estimate", "--gpu-memory", "8GiB", "--lora-config", "full"]) == 0
    assert "No batch fits. What would help:" in capsys.readouterr().out
    for command in ("train", "estimate", "init"):
        assert cli([command, "--help"]) == 0
