"""Preset data (TOML); read by `fishtune.core.config.presets`."""
