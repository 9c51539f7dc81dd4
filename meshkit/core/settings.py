"""How a service is configured: one documented class, read from the environment, wrong values reported all at once.

A field `drain_seconds` of the service `inventory` is read from `BEAUTYMESH_INVENTORY_DRAIN_SECONDS`, else from
`BEAUTYMESH_DRAIN_SECONDS`, else it has its default. The unit stands last in a field's name, the bound in its type.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args, get_origin

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX: Final = "BEAUTYMESH_"

Listen = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")]
"""`host:port`, an IPv6 host in brackets; port 0 takes a free one."""


class SettingsFault(Exception):
    """The environment holds wrong values; the message names every variable and what is wrong with it."""


class ServiceSettings(BaseSettings):
    """What every service can be told. A service's own class adds to it and sets `service`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, use_attribute_docstrings=True, validate_default=True
    )

    service: ClassVar[str] = "service"
    """The bare name: `inventory`, `promo`, `profile`, `edge`."""

    service_scopes: ClassVar[frozenset[str]] = frozenset()
    """What the service may do at others when it acts for nobody."""

    database_url: str = Field(default="postgresql://127.0.0.1:5432/beautymesh", repr=False)
    """Where PostgreSQL is; the service keeps to a schema of its own in this database."""

    redis_url: str = Field(default="", repr=False)
    """Where Valkey or Redis is. Empty: none; all works, hints between processes come slower."""

    grpc_listen: Listen = "127.0.0.1:0"
    """Address of the gRPC server; port 0 takes a free one."""

    admin_listen: Listen = "127.0.0.1:0"
    """Address of the admin port (`/metrics`, `/healthz`, `/readyz`): plain HTTP without a token, so keep it inside."""

    worker: int = Field(default=0, ge=0, le=1023)
    """Number of this process among the service's processes on this machine; only for logs and names."""

    signing_key_file: Path | None = None
    """Private key (JWK) that signs the tokens this service presents to others. None: it calls nobody."""

    jwks_file: Path | None = None
    """Public keys (JWKS) of accepted tokens, read again when the file changes. None: only public RPCs can be called."""

    issuer: str = Field(default="beautymesh", min_length=1, max_length=256)
    """The `iss` claim of tokens that are made and accepted."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are dropped."""

    otlp_endpoint: str = Field(default="", pattern=r"^(https?://.+)?$")
    """OTLP/gRPC collector of traces, also read from `OTEL_EXPORTER_OTLP_ENDPOINT`. Empty: spans are not recorded."""

    deadline_seconds_default: float = Field(default=10.0, gt=0, le=300)
    """Deadline of a unary call whose caller set none."""

    deadline_margin_seconds: float = Field(default=0.002, ge=0, le=1)
    """A call with less time left than this is refused unbegun."""

    keepalive_seconds: float = Field(default=30.0, ge=10, le=3600)
    """Time without traffic after which a connection is probed."""

    keepalive_timeout_seconds: float = Field(default=10.0, ge=1, le=300)
    """Time without an answer to the probe after which the connection is dropped."""

    connection_age_seconds_max: float = Field(default=1800.0, ge=1, le=86400)
    """Age (± 10 %) at which a connection is asked to move on, so that load spreads over new processes."""

    connection_age_grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """Time that the calls of such a connection have to end."""

    drain_wait_seconds: float = Field(default=0.2, ge=0, le=120)
    """Time between NOT_SERVING and the goodbyes: what a load balancer needs to notice."""

    drain_seconds: float = Field(default=2.0, ge=0, le=600)
    """Time that running calls have to end once the server stops taking new ones."""

    certificate_file: Path | None = None
    """The server's certificate chain (PEM). With `key_file` it turns TLS on."""

    key_file: Path | None = None
    """The certificate's private key (PEM)."""

    client_ca_file: Path | None = None
    """Certificate authorities (PEM) of clients. Set: a client without a certificate from them is not served (mTLS)."""

    allow_plaintext: bool = False
    """Permits plain text on an address that other machines reach, as behind a service mesh's own TLS."""

    @classmethod
    def load(cls) -> Self:
        """Reads the environment.

        Raises:
            SettingsFault: naming every wrong variable at once.
        """
        try:
            return cls()
        except ValidationError as error:
            faults = [_say(cls, each) for each in error.errors(include_url=False)]
            raise SettingsFault(f"the {cls.service} service cannot start:\n  " + "\n  ".join(faults)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — pydantic's signature, as the next two
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — see above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 — see above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of sources: arguments, the service's own variables, those for all services, OpenTelemetry's."""
        prefixes = (f"{PREFIX}{cls.service.upper()}_", PREFIX)
        environment = [EnvSettingsSource(settings_cls, env_prefix=prefix) for prefix in prefixes]
        return init_settings, *environment, _StandardVariables(settings_cls)

    @model_validator(mode="after")
    def _transport_is_complete_and_safe(self) -> Self:
        has_tls = self.certificate_file is not None and self.key_file is not None
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: set both or none")
        if self.client_ca_file is not None and not has_tls:
            raise ValueError("client_ca_file needs certificate_file and key_file")
        if not (has_tls or self.allow_plaintext or is_loopback(self.grpc_listen)):
            raise ValueError(
                f"grpc_listen {self.grpc_listen} can be reached by other machines: set certificate_file and key_file, "
                "or allow_plaintext where something else encrypts"
            )
        return self


def is_loopback(listen: str) -> bool:
    """Whether only this machine reaches the address."""
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """One row of the reference page. `unit` and `bound` are empty where there is none."""

    name: str
    variables: tuple[str, ...]
    default: str
    unit: str
    bound: str
    description: str


def describe(settings_class: type[ServiceSettings]) -> list[SettingDescription]:
    """Every setting of a service, in the order of the source."""
    return [
        SettingDescription(
            name=name,
            variables=variables(settings_class, name),
            default="" if field.default is None else str(field.default),
            unit=next((unit for suffix, unit in _UNITS.items() if suffix in name), ""),
            bound=_bound(field),
            description=field.description or "",
        )
        for name, field in settings_class.model_fields.items()
    ]


def variables(settings_class: type[ServiceSettings], name: str) -> tuple[str, ...]:
    """The environment variables of a field; the first that is set counts."""
    found = [f"{PREFIX}{settings_class.service.upper()}_{name.upper()}", f"{PREFIX}{name.upper()}"]
    if name in _STANDARD:
        found.append(_STANDARD[name])
    return tuple(found)


_UNITS: Final = {"_seconds": "s", "_ms": "ms", "_days": "d", "_bytes": "bytes", "_percent": "%"}
_STANDARD: Final = {"otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT"}
_SIGNS: Final = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
_SHOWN_CHARACTERS_MAX: Final = 60


class _StandardVariables(PydanticBaseSettingsSource):
    """Variables that other projects have named."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 — as above
        return os.environ.get(_STANDARD.get(field_name, "")), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: os.environ[variable] for name, variable in _STANDARD.items() if os.environ.get(variable)}


def _bound(field: FieldInfo) -> str:
    said = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in _SIGNS.items()
        if getattr(rule, name, None) is not None
    ]
    if get_origin(field.annotation) is Literal:
        return " | ".join(get_args(field.annotation))
    return ", ".join(said)


def _say(settings_class: type[ServiceSettings], error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    field = settings_class.model_fields.get(name)
    names = variables(settings_class, name)
    variable = next((each for each in names if each in os.environ), names[0])
    # URLs are kept out of `repr` because they may hold a password, so their value is not shown here either.
    shown = f" (it is {str(error['input'])[:_SHOWN_CHARACTERS_MAX]!r})" if field is not None and field.repr else ""
    return f"{variable}: {message[:1].lower()}{message[1:]}{shown}"
