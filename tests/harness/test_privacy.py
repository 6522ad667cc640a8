"""What may leave this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Privacy, holds_token, names_secret


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
        ("file:///srv/me/x is gone", "…/x is gone"),
        ("file://host/srv/me/x", "…/x"),
        ("file:/srv/me/x", "…/x"),
        ("cc -I/srv/me/inc -L=/srv/me/lib a-b/c/d", "cc -I…/inc -L=…/lib a-b/c/d"),
        (r"\\host\share\me", "…/me"),
        ('["/etc/ssl/x"]', '["…/x"]'),
        ("a hf_abcdefghijklmnopqrstuvwxyz1234567890 b", "a *** b"),
        ("https://me:hunter2@example.org/x", "https://***@example.org/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end", "*** end"),
        ("passwd=hunter2 passphrase=abc", "passwd=*** passphrase=***"),
        ("/srv/John Smith/x", "…/John Smith/x"),  # it cannot be told that this is one name
        ("the /home/maras of this world", "the …/maras of this world"),
    ],
)
def test_what_programs_say_names_no_place(privacy: Privacy, text: str, said: str) -> None:
    assert privacy.said(text) == said
    assert privacy.said({text: [text]}) == {said: [said]}


def test_what_names_a_place_or_holds_a_token_is_known(privacy: Privacy) -> None:
    named = ["/etc/ssl/x", f"{Path.cwd()}", "--out=~/x", "-I/srv/me", "file:///srv/x"]
    assert [privacy.names_place(text) for text in [*named, "--max_tokens=8", "a/b", "https://a/b/c"]] == [
        *[True] * len(named), False, False, False
    ]  # fmt: skip
    assert holds_token("x=sk-abcdefghijklmnopqrst")
    assert not holds_token("ssh://git@example.org --max_tokens=8 " + "a1" * 20)
    assert [names_secret(name) for name in ("HF_TOKEN", "API_KEY", "db_passwd", "KEYBOARD", "MAX_TOKENS")] == [
        True, True, True, False, False
    ]  # fmt: skip


def test_data_is_left_as_it_is_but_for_our_folders(privacy: Privacy) -> None:
    assert privacy.data("is /usr/bin/x on the door?") == "is /usr/bin/x on the door?"
    assert privacy.data({"a": [f"{Path.cwd()}/x.jpg", 3, None]}) == {"a": ["…/x.jpg", 3, None]}
