"""What a user chose: settings, presets, the project file; and the names of what a run writes."""
