"""What tests take for whole corpora is read as such: every sound is a clip, with its class and its speaker."""

from collections import Counter
from pathlib import Path

import pytest
from crowds import LAYOUTS, crowd
from readings import clips_in

NAMES = [*LAYOUTS, "asvp-esd-nonspeech", "iemocap", "msp-improv"]


@pytest.mark.parametrize("name", NAMES)
def test_a_crowd_is_read_whole(name: str, tmp_path: Path) -> None:
    files = crowd(name)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text or "", encoding="utf-8")
    clips = clips_in(tmp_path, name)
    assert clips.keys() == {path for path, text in files.items() if text is None}
    groups = {clip.speaker or clip.recording for clip in clips.values()}
    assert len(groups) >= (3 if name in ("asvp-esd-babies", "jnv") else 5)
    labels = Counter(clip.label for clip in clips.values())
    assert len(labels) >= 3
    assert None not in labels
    assert min(labels.values()) >= 6
