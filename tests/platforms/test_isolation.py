import errno

import pytest

from argosy.platforms.local.isolation import advice, probe


@pytest.mark.parametrize(
    ("number", "sysctls", "words"),
    [
        (
            errno.EPERM,
            {"kernel/unprivileged_userns_clone": "0"},
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            errno.EPERM,
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (errno.ENOSPC, {"user/max_user_namespaces": "0"}, "user.max_user_namespaces=15000"),
        (errno.EPERM, {"user/max_net_namespaces": "0"}, "user.max_net_namespaces=15000"),
        (errno.EPERM, {}, "--cap-add SYS_ADMIN"),
    ],
)
def test_advice_names_what_forbids(number: int, sysctls: dict[str, str], words: str) -> None:
    text = advice(OSError(number, "refused"), sysctls)
    assert words in text
    assert "root" in text


@pytest.mark.e2e
def test_this_machine_can_run_a_mesh() -> None:
    findings = probe()
    assert [f.name for f in findings] == [
        "namespaces",
        "bridge and links",
        "traffic capture",
        "socket marks",
        "volumes",
    ]
    assert [f for f in findings if not f.ok] == []
