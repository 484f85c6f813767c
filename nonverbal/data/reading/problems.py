"""What can be wrong with an audio file."""


class AudioProblem(Exception):
    """Why a file gives no clip."""

    REASONS = ("unreadable", "truncated", "empty", "not_finite", "overloaded", "silent")

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """One of ``REASONS``."""
        self.detail = detail


class MemberProblem(OSError):
    """A member of an archive cannot be read because it is itself at fault: damaged, encrypted, or too large."""
