"""What hostile requests are made of: values that are none, routes to send them to, and two good documents."""

from typing import Any

JOB: dict[str, Any] = {
    "project": "hostile",
    "dataset": {"name": "digits"},
    "model": {"name": "cnn", "width": 8},
    "norm": {"kind": "group", "groups": 4},
    "optimizer": {"kind": "sgd", "lr": 0.05},
    "training": {"epochs": 2, "batch_size": 64},
}
STUDY: dict[str, Any] = {
    "project": "hostile",
    "name": "norms",
    "base": {key: value for key, value in JOB.items() if key not in ("project", "norm")},
    "variants": {
        "none": {"norm": {"kind": "none"}},
        "group": {"norm": {"kind": "group", "groups": 4}},
    },
    "seeds": 2,
    "baseline": "none",
}

NUMBERS = (
    "-1", "0", "1e999", "-1e999", "NaN", "9" * 400, "1" * 5000, "0x10", "9223372036854775808", "-9223372036854775809",
    "2147483648", "1.5", "true", "null", "", " ", "%00", "٣", "1e-400",
)  # fmt: skip
TEXTS = (
    "\x00", "a\x00b", "\ud800", "\u202e", "'; DROP TABLE jobs; --", "${jndi:ldap://x}", "{{7*7}}", "<script>", "../" * 40,
    "..\\..\\", "/etc/passwd", "file:///etc/passwd", "%2e%2e%2f", "a" * 5000, "\n", "\r\nSet-Cookie: a=b", "🦖" * 300, "%s%n",
)  # fmt: skip
LISTS = (
    "jobs",
    "studies",
    "results",
    "datasets",
    "audit",
    "presets",
    "leaderboard",
    "queue",
    "users",
    "tokens",
)
ITEMS = (
    "jobs/{}", "jobs/{}/epochs", "jobs/{}/logs", "jobs/{}/files/{}", "jobs/{}/checkpoints/{}", "jobs/{}/curves",
    "jobs/{}/diagnostics/curves", "studies/{}", "studies/{}/comparison", "studies/{}/report", "studies/{}/figures/{}.png",
    "datasets/{}", "datasets/{}/pictures", "presets/{}", "presets/{}/runs", "drawings/{}",
)  # fmt: skip
PAGES = (
    "jobs/{}",
    "studies/{}",
    "datasets/{}",
    "presets/{}",
    "static/{}",
    "results?query={}",
    "compare?by={}",
    "login?next={}",
)
PARAMETERS = (
    "cursor", "limit", "query", "sort", "columns", "by", "metric", "study", "studies", "status", "project", "owner", "format",
    "x", "seeds", "set", "reference", "archived", "tag", "since", "seed", "augmentation", "layer", "statistic",
)  # fmt: skip
CURSORS = (
    "",
    "!",
    "aWQ6",
    "aWQ6LTE",
    "aWQ6OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    "e30",
    "bnVsbA",
    "W10",
    "====",
    "aWQ6MQ==" * 30,
    "\x00",
)
QUERIES = (
    "(" * 3000, "not " * 3000 + "a=1", "a=1 and " * 2000 + "a=1", "norm.kind in (" + "a," * 5000 + "a)", "x~'" + "%" * 2000 + "'",
    "created<9999999-01-01", "id=1e400", "seed=" + "9" * 1000, "a='\x00'", "norm.kind=", "= =", "'", "\\", "a ~ (", "lr>=NaN",
)  # fmt: skip
TYPES = (
    "application/json", "application/yaml", "text/plain", "multipart/form-data; boundary=x", "multipart/form-data",
    "application/x-www-form-urlencoded", "application/xml", "application/json; charset=utf-16", "\x7f", "a/b/c", "", "application/json+json",
)  # fmt: skip
BODIES: tuple[bytes, ...] = (
    b"[" * 100_000, b'{"a":' * 50_000, b"{" + b'"a":1,' * 20_000 + b'"b":2}', b"\xff\xfe\x00", b"\xc3\x28", b"\x00" * 1000,
    b'{"seed": 1' + b"0" * 5000 + b"}", b'{"\\ud800": 1}', b'{"project": "\\u0000"}', b"null", b"[]", b'"', b"", b"&a [*a]",
    b"a: &a [*a, *a]\n", b"!!python/object/apply:os.system ['true']", b"? [a]\n: b", b"- " * 5000, b"%YAML 9.9\n---\na: 1", b"1: 2\n1: 3",
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\nabc', b"--x--", b"--x\r\n\r\n", b"a=1&" * 5000,
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', b"\x1f\x8b\x08\x00broken",
)  # fmt: skip
POSTS = (
    "jobs",
    "studies",
    "plans",
    "datasets",
    "datasets/digits/preview",
    "presets/dropout/runs",
    "users",
    "tokens",
    "gc",
    "reservations",
)
ORDERS = (
    "POST jobs/{}/cancel", "POST jobs/{}/priority", "PATCH jobs/{}", "POST studies/{}/extend", "PATCH studies/{}",
    "POST studies/{}/declarations", "PATCH users/{}", "PATCH limits/roles/{}", "DELETE tokens/{}", "DELETE reservations/{}",
)  # fmt: skip
#: In place of a value of a document.
WRONG = (
    None, True, -1, 0, 10**30, 1e308, 5e-324, "", "\x00", "\ud800", "a" * 100_000, [], {}, [[[[]]]], ["x"] * 1000, {"kind": "no"},
    {"kind": {"kind": []}}, "../../etc/passwd", "digits\n", [None],
)  # fmt: skip
