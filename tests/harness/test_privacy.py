"""What may leave this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Privacy


@pytest.fixture
def privacy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Privacy:
    monkeypatch.setenv("HOME", "/home/mara")
    monkeypatch.chdir(tmp_path)
    return Privacy([Path("/data/our sets/gqa")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugin:/home/mara/models/v3,batch=2", "plugin:…/models/v3,batch=2"),
        ("/data/our sets/gqa/images/1.jpg: truncated", "…/images/1.jpg: truncated"),
        ("/mnt/disk/weights.bin: cannot be read", "…/weights.bin: cannot be read"),
        ("plugin:~/models/v3", "plugin:…/v3"),
        ("plugin:/mnt/models/v3,image=none", "plugin:…/v3,image=none"),
        ("--data=/mnt/sets/gqa", "--data=…/gqa"),
        (r"C:\Users\mara\x.jpg is gone", "…/x.jpg is gone"),
        ("plugin:NAME,base_url=https://user:pass@host/v1/path", "plugin:NAME,base_url=https://***@host/v1/path"),
        ("plugin:NAME,api_key=sk-123", "plugin:NAME,api_key=***"),
        ("3/4 of and/or https://example.org/a/b", "3/4 of and/or https://example.org/a/b"),
        ("the /home/maras of this world", "the …/maras of this world"),
    ],
)
def test_what_programs_say_names_no_place(privacy: Privacy, text: str, said: str) -> None:
    assert privacy.said(text) == said
    assert privacy.said({text: [text]}) == {said: [said]}


def test_data_is_left_as_it_is_but_for_our_folders(privacy: Privacy) -> None:
    assert privacy.data("is /usr/bin/x on the door?") == "is /usr/bin/x on the door?"
    assert privacy.data({"a": [f"{Path.cwd()}/x.jpg", 3, None]}) == {"a": ["…/x.jpg", 3, None]}
