"""Moving an alias to another version of a checkpoint: on a verdict, or back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import Settings
from harness.errors import GateFailed, Incomplete, UnknownVersion, UsageError
from harness.gate import Gate
from harness.plan import model_options
from harness.protocols import CheckpointStore
from harness.types import AliasMove, Version
from harness.verdict import FAIL, PASS, Verdict
from harness.verdicts import VerdictStore

ROLLBACK = "rollback"
"""What the reason of a move back starts with."""


@dataclass(frozen=True, slots=True)
class Move:
    """What an alias was and is. `before` is None at its first use; the two are equal where nothing was to move."""

    alias: str
    before: Version | None
    after: Version
    reason: str


class Promoter:
    """Moves aliases of a checkpoint store, each on its evidence, each only if nobody else moved it meanwhile."""

    def __init__(self, checkpoints: CheckpointStore, verdicts: VerdictStore, gate: Gate, settings: Settings) -> None:
        self._checkpoints = checkpoints
        self._verdicts = verdicts
        self._gate = gate
        self._settings = settings

    def promote(self, name: str, ref: str, alias: str, policy: str | None, force: str | None = None) -> Move:
        """Move an alias to a version that passed a policy.

        Args:
            policy: its name; that of the alias where there is such a policy, or the only one, where None.
            force: why it is moved whatever a policy says; kept in the alias's history.

        Raises:
            GateFailed: the newest verdict on this version is that it fails.
            Incomplete: the newest verdict is that it cannot be told.
            UsageError: there is no verdict, or it is of another version of the policy or against another baseline.
            CheckpointError: the alias was moved by somebody else meanwhile.
        """
        version = self._checkpoints.get(name, ref)
        holder = self.holder(name, alias)
        if holder is not None and holder.number == version.number:
            return Move(alias, holder, version, "")
        if force is not None:
            reason = f"forced: {force}"
        else:
            verdict = self.evidence(version, policy, alias)
            reason = f"verdict {verdict.id} of policy {verdict.policy} ({verdict.policy_digest[:12]})"
        return self._move(name, alias, version, holder, reason)

    def rollback(self, name: str, alias: str, reason: str = "") -> Move:
        """Move an alias back to the version that held it before, and from there further back.

        Raises:
            UsageError: nobody held it before.
            CheckpointError: the alias was moved by somebody else meanwhile.
        """
        holder = self._checkpoints.get(name, alias)
        held = holders([move for move in self._checkpoints.history(name) if move.alias == alias])
        if len(held) < 2:
            raise UsageError(
                f"{name}:{alias} is {holder}, and nothing held it before; see `harness checkpoints log {name}`"
            )
        before = self._checkpoints.get(name, f"v{held[-2]}")
        why = f"{ROLLBACK} from v{holder.number}" + (f": {reason}" if reason else "")
        return self._move(name, alias, before, holder, why)

    def holder(self, name: str, alias: str) -> Version | None:
        """The version that an alias is at; None where it is not used yet."""
        try:
            return self._checkpoints.get(name, alias)
        except UnknownVersion:
            return None

    def _move(self, name: str, alias: str, version: Version, holder: Version | None, reason: str) -> Move:
        expected = None if holder is None else holder.number
        moved = self._checkpoints.alias(name, alias, f"v{version.number}", reason, expected=expected)
        return Move(alias, holder, moved, reason)

    def _policy(self, policy: str | None, alias: str) -> str:
        known = self._settings.gates
        if policy is not None or alias in known:
            self._settings.gate(policy or alias)
            return policy or alias
        if len(known) == 1:
            return next(iter(known))
        there = f"there are {', '.join(sorted(known))}" if known else "there is none yet"
        raise UsageError(
            f"name the policy with --policy: {there} (policies are written in {self._settings.file} under `gates`); "
            "or give --force with a --reason"
        )

    def evidence(self, version: Version, policy: str | None, alias: str) -> Verdict:
        """The newest verdict on a version by a policy, if it is a pass that still holds.

        Args:
            policy: its name; that of the alias where there is such a policy, or the only one, where None.

        Raises:
            GateFailed: the newest verdict on this version is that it fails.
            Incomplete: the newest verdict is that it cannot be told.
            UsageError: there is no verdict, or it is of another version of the policy or against another baseline.
        """
        policy = self._policy(policy, alias)
        again = f"gate it again: harness gate {version} --policy {policy}"
        kept = [item.verdict for item in self._verdicts.of(version.digest, policy)]
        found = next((verdict for verdict in kept if _as_it_is(verdict)), None)
        if found is None:
            raise UsageError(f"there is no verdict of policy {policy!r} on {version}; {again}")
        if found.policy_digest != self._gate.policy_digest(policy, found.runs):
            raise UsageError(f"policy {policy!r} has changed since verdict {found.id} on {version}; {again}")
        if found.verdict == FAIL:
            failed = ", ".join(item.score for item in found.findings if item.status == FAIL)
            raise GateFailed(f"{version} fails policy {policy!r} ({failed}; verdict {found.id}); it may not ship")
        if found.verdict != PASS:
            raise Incomplete(
                f"verdict {found.id} of policy {policy!r} on {version} is {found.verdict}, which is no pass"
            )
        baseline = self._settings.gate(policy).baseline
        compares = any(item.against for item in self._settings.gate(policy).require)
        if compares and found.asked_baseline != baseline:
            raise UsageError(
                f"verdict {found.id} compares with {found.asked_baseline}, policy {policy!r} with {baseline}; {again}"
            )
        judged_against = found.baseline["digest"] if found.baseline else None
        now = self._gate.baseline_digest(policy) if compares else None
        # What was promoted on a verdict is the baseline itself from then on, and the verdict holds.
        if compares and now not in (judged_against, version.digest):
            raise UsageError(
                f"verdict {found.id} compares with {judged_against or 'nothing'}, and {baseline} is "
                f"{now or 'not used'} now; {again}"
            )
        return found


def _as_it_is(verdict: Verdict) -> bool:
    """Whether the checkpoint was judged as it is: with its pictures, and without options that change its answers."""
    return verdict.model["image"] == "real" and not model_options(verdict.model["ref"])


def holders(moves: Sequence[AliasMove]) -> list[int]:
    """The numbers of the versions that hold an alias and held it before, as far back as can be gone; oldest first.

    Args:
        moves: all of the alias, newest first. A rollback takes back what it leaves.
    """
    held: list[int] = []
    for move in reversed(moves):
        if move.reason.startswith(ROLLBACK) and move.after in held:
            while held[-1] != move.after:
                held.pop()
        elif move.after is not None:
            held.append(move.after)
    return held
