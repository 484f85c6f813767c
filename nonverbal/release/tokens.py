"""Patterns of tokens, keys and passwords."""

import re

FORMS = {
    "hf_": r"\bhf_[A-Za-z0-9]{16,}",
    **{f"gh{kind}_": rf"\bgh{kind}_[A-Za-z0-9]{{20,}}" for kind in "opsu"},
    "github_pat_": r"\bgithub_pat_\w{20,}",
    "glpat-": r"\bglpat-[\w-]{20,}",
    "sk-": r"\bsk-[A-Za-z0-9_-]{20,}",
    "AKIA": r"\bAKIA[0-9A-Z]{16}\b",
    "AIza": r"\bAIza[\w-]{30,}",
    **{f"xox{kind}-": rf"\bxox{kind}-[\w-]{{10,}}" for kind in "abprs"},
    "eyJ": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "PRIVATE KEY-----": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    # A name and a password before a host; ASCII only, so that bytes of weights hardly ever match.
    "://": r"(?<=[a-z0-9]://)[!-.0-9;-?A-~]+:[!-.0-?A-~]+(?=@)",
}
"""From a part that every token of a kind contains to the pattern of the whole token.

The kinds: Hugging Face, GitHub, GitLab, OpenAI, Amazon, Google, Slack, JSON web tokens, private keys, passwords in
addresses. Hugging Face's tokens are matched in their form of 2026; names of files and models are shorter.
"""

TOKENS = re.compile("|".join(FORMS.values()), re.ASCII)

_OF_BYTES = [(mark.encode(), re.compile(form.encode())) for mark, form in FORMS.items()]


def holds_token(content: bytes) -> bool:
    """Whether bytes of any kind, text or weights, contain a token."""
    # Searching for the fixed part first is six times as fast, which matters for weights.
    return any(mark in content and form.search(content) is not None for mark, form in _OF_BYTES)
