"""One line of the doctor's report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "slow", "wrong"]


@dataclass(frozen=True)
class Finding:
    """`remedy` is the command or change that mends it. The server cannot work while an essential one is amiss."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    is_essential: bool = False

    @property
    def prevents_serving(self) -> bool:
        return self.is_essential and self.status in ("missing", "wrong")


def run_check(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of `check`. A check that fails itself is a finding, too: the report goes on."""
    try:
        return check()
    except Exception as error:
        detail = f"this check itself failed: {type(error).__name__}: {error}"
        return [Finding(name, "wrong", detail, "Please report this as a fault of anivoice.", is_essential=True)]
