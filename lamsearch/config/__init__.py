"""What the user writes: `lamsearch.toml`, prompt files, and expressions over rewards."""
