from __future__ import annotations

import pytest

from meshkit.core.errors import ResumeTokenInvalid
from meshkit.feed.token import ResumeToken

LOG_ID = "0190a000-0000-7000-8000-000000000001"
TOKENS = [
    ResumeToken(LOG_ID, 0),
    ResumeToken(LOG_ID, 2**63 - 1),
    ResumeToken(LOG_ID, 7, b"12345678"),
    ResumeToken(LOG_ID, 7, b"", b""),
    ResumeToken(LOG_ID, 7, b"12345678", "level\x1fröt\x1fparis\x1f".encode()),
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_comes_back_as_it_was(token: ResumeToken) -> None:
    assert ResumeToken.decode(token.encode()) == token


def test_a_token_within_the_longest_key_fits_the_contract() -> None:
    cursor = "\x1f".join(("level", "\U0001f484" * 64, "\U0001f484" * 64, "")).encode()
    assert len(ResumeToken(LOG_ID, 2**63 - 1, b"12345678", cursor).encode()) <= 1024


@pytest.mark.parametrize(
    "text", ["", "A", "not base64!", "ü", "AAAA", TOKENS[0].encode()[:-4], TOKENS[0].encode() + "AAAA"]
)
def test_a_damaged_token_is_refused(text: str) -> None:
    with pytest.raises(ResumeTokenInvalid) as refusal:
        ResumeToken.decode(text)
    assert [each.field for each in refusal.value.violations] == ["resume_token"]


def test_no_changed_character_goes_unnoticed() -> None:
    good = TOKENS[4].encode()
    for number, character in enumerate(good[:-1]):  # the last one may have bits that mean nothing
        damaged = good[:number] + ("A" if character != "A" else "B") + good[number + 1 :]
        with pytest.raises(ResumeTokenInvalid):
            ResumeToken.decode(damaged)
