"""Maps of sounds on the page."""

import json
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from report_inputs import HOSTILE, rename_clips, write_map_of, write_tables

from nonverbal.report.collect import collect
from nonverbal.report.drawing import Dot, svg
from nonverbal.report.page import Page, render
from nonverbal.report.sections import Part
from nonverbal.report.switched import switched_svg


def test_a_map_is_drawn_by_class_speaker_and_disagreement(tmp_path: Path) -> None:
    write_tables(tmp_path)
    rename_clips(tmp_path, "mine")
    write_map_of(tmp_path / "x.map.json", 24)
    page = collect([tmp_path], "t", "c")
    (section,) = page.maps
    by_class, by_speaker, disputed = section.drawings
    assert by_class.description.startswith(f"Map of 24 clips by {HOSTILE}. By class: {HOSTILE} 12, b 12.")
    # Seven of twelve speakers have colours; the others are grey.
    roles = [mark.role for mark in by_speaker.marks if isinstance(mark, Dot) and mark.clip]
    assert roles.count("muted") == 10
    assert len(set(roles)) == 8
    rivals = page.sections[0].rivals
    assert rivals is not None
    apart = sum(rivals.differ.values())
    assert 0 < apart < 24
    assert f"they disagree {apart}" in disputed.description
    assert (
        "of a clip’s 10 nearest neighbours in the original space, 50% are among its nearest here (43% by chance)"
        in section.summary
    )
    assert "80% of them have its class" in section.summary
    html = render(page)
    # One figure, in the colours of the first drawing, which has those of the others ready.
    figure = switched_svg(section.drawings)
    assert figure in html
    assert figure.count("data-clip=") == html.count("data-clip=") - sum(len(part.clips) for part in listed(page)) == 24
    first, second = (mark for mark in by_speaker.marks[1:3] if isinstance(mark, Dot))
    assert f'data-under="series0 {first.role} series' in figure
    assert first.role == second.role
    told = {True: "they disagree", False: "they agree"}[rivals.differ["mine/0.wav"]]
    assert escape(f"mine/0.wav: {HOSTILE}; s0; {told}") in figure
    assert [figure.count(f'data-choice="{n}" display="none"') for n in range(3)] == [0, 1, 1]
    assert html.count('type="radio"') == 3
    assert HOSTILE not in html.replace(html[html.index("<style>") : html.index("</style>")], "")


def test_a_point_takes_few_bytes(tmp_path: Path) -> None:
    """Of 5000 clips a map is 1 MB of the 15 that a page may have."""
    file = write_map_of(tmp_path / "x.map.json", 2000)
    (section,) = collect([file], "t", "c").maps
    assert len(switched_svg(section.drawings)) < 2000 * 200


def test_a_map_of_one_class_and_speaker_is_drawn_without_a_switch(tmp_path: Path) -> None:
    file = write_map_of(tmp_path / "x.map.json", 24)
    made = json.loads(file.read_text(encoding="utf-8")) | {"labels": ["a"] * 24, "speakers": [None] * 24}
    file.write_text(json.dumps(made), encoding="utf-8")
    page = collect([file], "t", "c")
    (drawing,) = page.maps[0].drawings
    assert "By class: a 24." in drawing.description
    html = render(page)
    assert html.count("data-clip=") == 24
    assert 'type="radio"' not in html


def listed(page: Page) -> list[Part]:
    return [part for section in page.sections for part in section.parts if part.clips and page.sounds.by_clip]


def test_points_are_where_the_map_has_them(tmp_path: Path) -> None:
    file = write_map_of(tmp_path / "x.map.json", 24)
    made = json.loads(file.read_text(encoding="utf-8"))
    drawing = collect([file], "t", "c").maps[0].drawings[0]
    dots = [mark for mark in drawing.marks if isinstance(mark, Dot) and mark.clip]
    assert [dot.clip for dot in dots] == made["clips"]
    assert np.corrcoef([dot.x for dot in dots], made["x"])[0, 1] > 0.9999
    # Upwards on the page is downwards in its places.
    assert np.corrcoef([dot.y for dot in dots], made["y"])[0, 1] < -0.9999
    assert svg(drawing).count("data-clip=") == 24
    assert 'role="group"' in svg(drawing)


def test_the_first_sounds_are_of_all_classes(tmp_path: Path) -> None:
    file = write_map_of(tmp_path / "x.map.json", 24)
    made = json.loads(file.read_text(encoding="utf-8"))
    labels = dict(zip(made["clips"], made["labels"], strict=True))
    clips = collect([file], "t", "c").maps[0].clips
    assert sorted(clips) == sorted(made["clips"])
    assert [{labels[clip] for clip in clips[first : first + 2]} for first in (0, 2, 4)] == [{HOSTILE, "b"}] * 3
