"""Where objects are written, as the control plane knows it."""

from argosy.api.meta import Origin, line_of
from argosy.cli.client import ApiClient
from argosy.mixer.report.findings import NOWHERE, Place


class Places:
    """Asked for once for each kind: those of ``kinds`` now, others when they are first needed."""

    def __init__(self, client: ApiClient, *kinds: str) -> None:
        self._client = client
        self._kinds = {kind: self._origins(kind) for kind in kinds}

    def of(self, kind: str, namespace: str, name: str, field: str = "") -> Place:
        """``field`` empty: of the whole object, else of that or what encloses it."""
        if kind not in self._kinds:
            self._kinds[kind] = self._origins(kind)
        origin = self._kinds[kind].get((namespace, name))
        return NOWHERE if origin is None else Place(origin.file, line_of(origin, field) or 0)

    def _origins(self, kind: str) -> dict[tuple[str, str], Origin]:
        items = self._client.get(f"/apis/argosy.dev/v1alpha1/places/{kind}")["items"]
        return {
            (one["namespace"], one["name"]): Origin(
                file=one["file"], line=one["line"], fields=one["fields"]
            )
            for one in items
        }
