"""Single requests and connections: failures at all times, anything else while somebody looks.

Proxies send access log entries (``envoy.service.accesslog.v3``). Mixer keeps the last failures,
hands what people watch to them, and sums up what a recording saw. What Mixer wants to be sent is a
document that the control plane reads and turns into a runtime value of the proxies.

HTTP routes, below ``/mixer``; askers of one namespace see and switch on what is of it:

    GET  /records?namespace=&workload=&failures=true&limit=
        {"items": [Record ...]}, the newest first
    GET  /records/requests/{id}
        {"items": [Record ...]}, by time: every record of the request, and the connections beneath
    POST /records/tap                body: tap.Watch; a line of JSON for each record, until closed
    POST /records/record             body: {"namespace": "", "seconds": 600}; 0 ends it
        recording.Recording
    GET  /records/observed?namespace=
        {"recording": Recording | null, "items": [recording.Observed ...]}: who called what
    GET  /records/wanted?version=&timeoutSeconds=
        model.records.Wanted, as soon as its version is another
    GET  /records/status
        counts of what came, was kept and was dropped

``Observed`` has ``sourcePrincipal`` (a SPIFFE id, empty: plaintext), ``namespace``, ``workload``,
``labels`` (of the destination), ``port``, ``protocol`` (``HTTP`` or ``TCP``), ``method``, ``path``
(an Istio path template: numbers and ids are ``{*}``, what is too many to list is ``/{**}``),
``count``, ``denied`` (of these, refused by an AuthorizationPolicy), ``first`` and ``last`` (seconds
since the epoch).
"""
