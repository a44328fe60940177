"""Preset data (TOML); read by `fishtune.core.presets`."""
