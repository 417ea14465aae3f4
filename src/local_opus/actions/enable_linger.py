"""Let a user's services go on without a login, and start with the machine: loginctl(1).

Whether a user may say so for himself is polkit's to decide. Where it says no, or there is none, the
install goes on without: an administrator can say so later.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Scope

#: Where systemd-logind keeps it: an empty file by the user's name.
FOLDER = "/var/lib/systemd/linger"
_TIMEOUT = 30.0


def lingers(host: Host, user: str) -> bool:
    """Tell whether the services of ``user`` go on without a login."""
    return host.files.stat(f"{FOLDER}/{user}") is not None


def by_admin(user: str) -> str:
    """Return the command of an administrator."""
    return f"sudo loginctl enable-linger {user}"


class EnableLinger(Action):
    """Lingering of the ``user`` who runs this, and of no other."""

    kind: ClassVar[str] = "enable_linger"
    #: Last of all: without it the user's systemd may end, and this program with it.
    reverted_in: ClassVar[int] = 3
    #: A receipt could hold an option or a path in its place.
    user: str = Field(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,255}\z")
    scope: Literal[Scope.USER] = Scope.USER

    def summary(self) -> str:
        """Say what it does."""
        return f"let the services of {self.user} go on without a login (lingering)"

    def paths(self) -> tuple[str, ...]:
        """It works through loginctl, on no path of its own."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """Look at logind's own file."""
        if lingers(host, self.user):
            return Inspection(state=State.PRESENT, evidence="on")
        return Inspection(state=State.ABSENT, evidence="off")

    def capture(self, host: Host) -> Record:
        """Record whether it was on."""
        return {"on": lingers(host, self.user)}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Turn it on; a refusal is recorded, and no failure."""
        refused = self._call(host, "enable-linger")
        if refused is None and not lingers(host, self.user):
            refused = "loginctl said yes, and it is still off"
        return {} if refused is None else {"refused": refused}

    def edited(self, host: Host, after: Record) -> str | None:
        """Where it was refused and is still off there is nothing more to do here."""
        refused = after.get("refused")
        if refused is None or lingers(host, self.user):
            return None
        return f"lingering is off ({refused}): an administrator runs `{by_admin(self.user)}`"

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Turn it off where this turned it on."""
        was_refused = after is not None and "refused" in after
        if before.get("on") or was_refused or not lingers(host, self.user):
            return Reverted()
        if (refused := self._call(host, "disable-linger")) is not None:
            return Reverted(
                kept=f"lingering of {self.user} is still on ({refused}): an administrator runs "
                f"`sudo loginctl disable-linger {self.user}`"
            )
        return Reverted()

    def _call(self, host: Host, verb: str) -> str | None:
        """Call loginctl; return why it refused, None where it did not."""
        if host.accounts.own_name() != self.user:
            return f"this is run by another user than {self.user}"
        try:
            # Named: without a name logind takes the user of the session, and there may be none.
            done = host.processes.run(
                ["loginctl", "--no-ask-password", verb, self.user], timeout=_TIMEOUT
            )
        except LocalOpusError as error:
            return error.message
        return None if done.code == 0 else done.last_line
