"""Fourth stage: who calls, and whether the contract lets them."""

from __future__ import annotations

from meshkit.core.errors import Unauthenticated
from meshkit.core.principal import ANONYMOUS, Principal
from meshkit.rpc.options import RpcPolicy
from meshkit.rpc.tokens import TokenVerifier


class Authentication:
    """Admits calls by their bearer token."""

    __slots__ = ("_verifier",)

    def __init__(self, verifier: TokenVerifier | None) -> None:
        """Without a verifier only public RPCs can be called."""
        self._verifier = verifier

    def admit(self, policy: RpcPolicy, authorization: str) -> Principal:
        """On whose authority the call runs. `authorization` is the metadata's value, empty where there is none.

        The token of a public RPC is not looked at: a stale one must not stop a health probe.

        Raises:
            Unauthenticated: without a valid token.
            MissingScope: if the principal lacks a scope that the RPC needs.
        """
        if policy.public:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("a bearer token is needed")
        if self._verifier is None:
            raise Unauthenticated("this service accepts no tokens: it was given no keys")
        principal = self._verifier.verify(token)
        if not policy.scopes <= principal.scopes:
            principal.require_scopes(policy.scopes)
        return principal
