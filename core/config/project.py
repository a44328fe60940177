"""The project file `fishtune.toml`: every choice of a user, in one place.

Paths in the file are relative to its folder; the `…_settings` methods resolve them for the engine.

People edit the file while something else, such as the wizard, has it open: the file on disk wins. Saving
only puts on top of it what was changed here since it was read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from ..errors import FishtuneError, MalformedFileError, SettingsError
from ..files import absolute, update_text, with_a_name
from ..reading import read_regular
from ..tables import LARGEST_TOML, parse_toml, with_changes
from .options import BASIC, Option
from .presets import Kind, lora_preset, preset_names
from .project_text import decimal_comma, edited, template
from .settings import (
    CODEC_FILE,
    MODELS_FOLDER,
    AuditionOptions,
    AuditionSettings,
    DownloadSettings,
    ExtractOptions,
    ExtractSettings,
    MergeOptions,
    MergeSettings,
    ModelOptions,
    NotifyOptions,
    PackOptions,
    PackSettings,
    RunName,
    SynthSettings,
    TrainOptions,
    TrainSettings,
    UserPath,
    ValidateSettings,
)
from .strict import Table, parse

PROJECT_FILE = "fishtune.toml"
PROTOS = "protos"
"""Folder of the shards inside the data set."""
RESULTS = "results"
"""Folder of all runs inside the project."""
_TABLES = ("dataset", "model", "extract", "pack", "train", "audition", "merge", "notify")
_LIMITS = {"epochs", "max_steps", "max_minutes"}


def merge_record_path(output: Path) -> Path:
    """Return where the record of a merged directory lies: beside it, as the directory is a drop-in.

    Raises:
        StorageError: the output is the root of a disk.
    """
    output = with_a_name(output)
    return output.with_name(f"{output.name}.fishtune.json")


class DatasetOptions(Table):
    """Which recordings are used."""

    path: Annotated[UserPath, Option("Folder", group=BASIC)] = Path("data")
    """One folder per speaker: SPEAKER/NAME.mp3 (or .wav, .flac) with its words in NAME.lab."""
    protos: Annotated[UserPath | None, Option(unset="protos inside the data set")] = None
    """Packed data set."""
    exclude: Annotated[list[str], Option("Clips left out")] = []
    """Clips left out, as SPEAKER/NAME."""


@dataclass(frozen=True)
class Change:
    """What one save changed: everything that was chosen before it and after."""

    before: dict[str, Any]
    after: dict[str, Any]

    def values(self) -> dict[tuple[str, str], tuple[Any, Any]]:
        """Return every value that changed, before and after, by table and name; None = not set."""
        changed = {}
        for table in _TABLES:
            old, new = self.before.get(table, {}), self.after.get(table, {})
            for name in dict.fromkeys([*old, *new]):
                if old.get(name) != new.get(name):
                    changed[table, name] = (old.get(name), new.get(name))
        return changed


class Project(Table):
    """A fine-tuning project."""

    name: RunName
    """Names the run: files go to `results/NAME`."""
    dataset: DatasetOptions = Field(default_factory=DatasetOptions)
    model: ModelOptions = Field(default_factory=ModelOptions)
    extract: ExtractOptions = Field(default_factory=ExtractOptions)
    pack: PackOptions = Field(default_factory=PackOptions)
    train: TrainOptions = Field(default_factory=TrainOptions)
    audition: AuditionOptions = Field(default_factory=AuditionOptions)
    merge: MergeOptions = Field(default_factory=MergeOptions)
    notify: NotifyOptions = Field(default_factory=NotifyOptions)

    _folder: Path = PrivateAttr(default=Path())
    _on_disk: dict[str, Any] | None = PrivateAttr(default=None)
    """What the file chose when it was last read or written; None where there was no file."""

    @property
    def folder(self) -> Path:
        """Folder of the project file, absolute."""
        return self._folder

    @property
    def file(self) -> Path:
        """Path of the project file."""
        return self._folder / PROJECT_FILE

    @classmethod
    def create(cls, folder: Path, name: str, **tables: Any) -> Project:
        """Return a new project in `folder`; nothing is written until `save`."""
        project = parse(cls, {"name": name, **tables}, PROJECT_FILE)
        project._folder = absolute(folder)
        return project

    @classmethod
    def load(cls, path: Path) -> Project:
        """Read a project file, or the one inside the folder `path`.

        Raises:
            SettingsError: there is no such file, it is not TOML, or it has wrong keys or values.
        """
        return cls._read(path / PROJECT_FILE if path.is_dir() else path)[0]

    @classmethod
    def _read(cls, file: Path) -> tuple[Project, str]:
        """Return a project and the text of its file."""
        if not file.exists():
            raise SettingsError(
                "{file} does not exist.",
                "Make a project with the wizard (fishtune-tui) or with: fishtune init",
                file=file,
            )
        written = b""
        try:
            written = read_regular(file, LARGEST_TOML, MalformedFileError)
            content = parse_toml(written, str(file))
        except MalformedFileError as error:
            likely = decimal_comma(written.decode("utf-8-sig", "replace"))
            raise SettingsError(error.message, likely or error.hint) from error
        project = parse(cls, content, str(file))
        project._folder = absolute(file.parent)
        project._on_disk = project._chosen()
        return project, written.decode("utf-8-sig")

    def save(self, commented: bool = False) -> Change | None:
        """Put what was changed here since the file was read into it, atomically, and take over the rest.

        Other values stay as they are on disk, also those that somebody else changed meanwhile, and so do
        comments. Values that nobody set are left out, so that presets and later defaults apply to them.
        Nothing is written where nothing was changed.

        Args:
            commented: let a new file explain every option, commented out.

        Returns:
            What was changed, None for nothing; `take_back` undoes it.

        Raises:
            SettingsError: the file is gone, came into being meanwhile, or holds what cannot be used; it is
                left as it is.
            StorageError: the disk is full or the file cannot be written.
        """
        chosen = self._chosen()
        if self._on_disk is None:
            if self.file.exists():
                raise SettingsError(
                    "{file} exists already.", "Open that project, or choose another folder.", file=self.file
                )
            text = edited(template(type(self)) if commented else "", {}, chosen)
        else:
            there, text = self._read_again()
            if chosen == self._on_disk:
                self._take_over(there)
                return None
            content = there._chosen()
            text = edited(text, content, with_changes(content, self._on_disk, chosen))
        try:
            merged = parse(type(self), parse_toml(text, str(self.file)), str(self.file))
        except MalformedFileError as error:
            raise SettingsError(
                "What was chosen cannot be kept in {file}.",
                "A name in it is not UTF-8, or a number is too large: choose another one.",
                file=self.file,
            ) from error
        update_text(self.file, text)
        change = Change(self._on_disk or {}, chosen)
        self._take_over(merged)
        return change

    def take_back(self, change: Change) -> dict[tuple[str, str], Any]:
        """Set what a change set to what it was before; `save` puts that into the file.

        A value that somebody else changed since stays.

        Returns:
            The values that are set back, by table and name; None = it is not set any more.
        """
        now = self._chosen()
        undone = {
            (table, name): old
            for (table, name), (old, new) in change.values().items()
            if now.get(table, {}).get(name) == new
        }
        for (table, name), old in undone.items():
            now.setdefault(table, {})[name] = old
            if old is None:
                del now[table][name]
        self._take_tables(parse(type(self), now, str(self.file)))
        return undone

    def reread(self) -> bool:
        """Take over what was changed on disk since the file was read; return whether anything was.

        What was changed here and is not saved yet is kept.

        Raises:
            SettingsError: the file is gone or holds what cannot be used; nothing is taken over.
        """
        there, _text = self._read_again()
        if there._chosen() == self._on_disk:
            return False
        content = with_changes(there._chosen(), self._on_disk or {}, self._chosen())
        self._take_over(parse(type(self), content, str(self.file)))
        self._on_disk = there._chosen()
        return True

    def is_as_on_disk(self) -> bool:
        """Return whether the file says what it said when it was read; False if it cannot be read."""
        try:
            return self._read_again()[0]._chosen() == self._on_disk
        except FishtuneError:
            return False

    def _read_again(self) -> tuple[Project, str]:
        if not os.path.exists(self.file):  # noqa: PTH110 - unlike Path.exists it never raises
            raise SettingsError(
                "{file} is gone.",
                "Put it back, or open the project where it is now; nothing is saved until then.",
                file=self.file,
            )
        return self._read(self.file)

    def _chosen(self) -> dict[str, Any]:
        """Return every value that was set, as the file has it."""
        chosen: dict[str, Any] = {"name": self.name}
        for table in _TABLES:
            values = getattr(self, table).model_dump(mode="json", exclude_unset=True, exclude_none=True)
            if values:
                chosen[table] = values
        return chosen

    def _take_over(self, other: Project) -> None:
        self._take_tables(other)
        self._on_disk = self._chosen()

    def _take_tables(self, other: Project) -> None:
        self.name = other.name
        for table in _TABLES:
            setattr(self, table, getattr(other, table))

    def resolve(self, path: Path) -> Path:
        """Return `path` as an absolute path, relative ones being inside the project folder."""
        return absolute(self._folder / path.expanduser())

    @property
    def data(self) -> Path:
        """Folder of recordings."""
        return self.resolve(self.dataset.path)

    @property
    def protos(self) -> Path:
        """Folder of the packed data set."""
        return self.resolve(self.dataset.protos) if self.dataset.protos else self.data / PROTOS

    @property
    def base(self) -> Path:
        """Checkpoint directory of the base model."""
        return self.resolve(self.model.directory)

    @property
    def results(self) -> Path:
        """Folder of all runs."""
        return self._folder / RESULTS

    @property
    def run_folder(self) -> Path:
        """Folder of this project's checkpoints, logs and jobs: `results/NAME`."""
        return self.results / self.name

    @property
    def merged(self) -> Path:
        """Directory that merging makes."""
        return self.resolve(self.merge.output or Path(MODELS_FOLDER) / f"{self.name}-merged")

    def download_settings(self) -> DownloadSettings:
        """Return what `fishtune download` needs."""
        return DownloadSettings(name=self.model.name, local_dir=self.base, revision=self.model.revision)

    def validate_settings(self) -> ValidateSettings:
        """Return what `fishtune validate` needs."""
        return ValidateSettings(
            data=self.data, text_extension=self.pack.text_extension, exclude=self.dataset.exclude
        )

    def extract_settings(self) -> ExtractSettings:
        """Return what `fishtune extract` needs."""
        return ExtractSettings(
            **self.extract.model_dump(),
            data=self.data,
            checkpoint_path=self.base / CODEC_FILE,
            exclude=self.dataset.exclude,
        )

    def pack_settings(self) -> PackSettings:
        """Return what `fishtune pack` needs."""
        return PackSettings(
            **self.pack.model_dump(), input=self.data, output=self.protos, exclude=self.dataset.exclude
        )

    def train_settings(self) -> TrainSettings:
        """Return what `fishtune train` needs: the preset's values under the ones the file sets.

        Where the file limits the length of training in any way, the preset's own limits do not count.
        """
        chosen = self.train.model_dump(exclude_unset=True)
        preset = lora_preset(self.train.lora_config).train.model_dump(exclude_unset=True)
        if _LIMITS & chosen.keys():
            preset = {name: value for name, value in preset.items() if name not in _LIMITS}
        return TrainSettings(
            **{**preset, **chosen},
            project=self.name,
            results=self.results,
            base=self.base,
            protos=self.protos,
        )

    def audition_settings(self, target: Path) -> AuditionSettings:
        """Return what `fishtune audition` needs for a checkpoint of the project, or its run."""
        chosen = self.audition.model_dump(exclude_unset=True)
        reference = self.audition.reference
        named: dict[str, tuple[Kind, str | None]] = {
            "text_source": ("texts", self.audition.text_source),
            "asr_model": ("recognition", self.audition.asr_model),
            "speaker_model": ("speaker", self.audition.speaker_model),
        }
        places = {name: self._resolve_named(*value) for name, value in named.items()}
        return AuditionSettings(
            **chosen | places | {"reference": self.resolve(reference) if reference else None},
            checkpoint=target,
            base_weight=self.base,
            protos=self.protos if self.protos.is_dir() else None,
            config_name=self.extract.config_name,
        )

    def _resolve_named(self, kind: Kind, name: str | None) -> str | None:
        """Return the name of a preset as it is, and any other as a path."""
        return name if name is None or name in preset_names(kind) else str(self.resolve(Path(name)))

    def synth_settings(self, text: str, out: Path) -> SynthSettings:
        """Return what `fishtune synth` needs to say a text with the merged model."""
        return SynthSettings(checkpoint=self.merged, text=text, out=out, config_name=self.extract.config_name)

    def merge_settings(self) -> MergeSettings:
        """Return what `fishtune merge` needs.

        Raises:
            SettingsError: no checkpoint has been chosen.
        """
        if self.merge.checkpoint is None:
            raise SettingsError(
                "{file} names no checkpoint to merge.",
                "Set checkpoint in [merge], or pick one in the wizard's step 6.",
                file=self.file,
            )
        return MergeSettings(
            base_weight=self.base,
            lora_weight=self.resolve(Path(self.merge.checkpoint)),
            output=self.merged,
            lora_config=self.merge.lora_config,
            strength=self.merge.strength,
            link=self.merge.link,
        )
