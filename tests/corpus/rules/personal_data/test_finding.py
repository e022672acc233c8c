"""What is personal is masked, what only looks alike stays, and no text takes long."""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from palmetto.corpus import tables
from palmetto.corpus.rules.personal_data import KINDS, PersonalData, find

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVPmB92K27uhbUJU1p1r"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow-IBAAKCAQEA\n-----END RSA PRIVATE KEY-----"


def masked(text: str, kind: str = "prose") -> str:
    table = pa.table({"source": ["s"], "text": pa.array([text], pa.large_string())})
    note = PersonalData({"s": kind}).annotate(table, "", Path())
    return tables.edited(text, note["edits"].to_pylist()[0] or ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+x@mail.example.co.uk.", "write to <EMAIL>."),
        ("이메일은 kim@example.kr입니다", "이메일은 <EMAIL>입니다"),
        ("call +44 20 7946 0958 now", "call <PHONE> now"),
        ("call +1 (415) 555-2671, or (415) 555-2671.", "call <PHONE>, or <PHONE>."),
        ("at 415-555-2671 or 415.555.2671.", "at <PHONE> or <PHONE>."),
        ("휴대폰 010-1234-5678, 電話：03-1234-5678", "휴대폰 <PHONE>, 電話：<PHONE>"),
        ("Tel.: 040 / 123", "Tel.: 040 / 123"),
        ("Tel.: 040 1234567", "Tel.: <PHONE>"),
        ("тел. 8 (495) 123-45-67", "тел. <PHONE>"),
        ("from 93.184.216.34:80, 2606:2800:220:1:248:1893:25c8:1946.", "from <IP>:80, <IP>."),
        ("id AKIAIOSFODNN7EXAMPLE here", "id <KEY> here"),
        ("ghp_" + "a1B2" * 9, "<KEY>"),
        ("xoxb-123456789012-abcdef", "<KEY>"),
        (f"Bearer {JWT}", "Bearer <KEY>"),
        (f"a\n{PEM}\nb", "a\n<KEY>\nb"),
        ('api_key = "q8Zr4Lw0Vx7Nt2Kd9Fb3"', 'api_key = "<SECRET>"'),
        ("PASSWORD: hunter2isNotLongEnough7x", "PASSWORD: <SECRET>"),
    ],
)
def test_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, ISSN 0317-8471",
        "on 2019-01-02 or 02.01.2019 or 12-11-2019 at 12:34:56",
        "version 1.24.103.4, v10.20.30.40, 4.0.3.2, and 1.2.3",
        "127.0.0.1, 192.168.10.20, 10.20.30.40, 0.0.0.0, 224.0.0.251, 300.200.100.1",
        "fe80::1, ::1, 2001:db8::1, std::vector, 12:30:45:10",
        "git@github.com:owner/name.git, foo@bar, a @ b, user@localhost",
        "123-456-7890123, 1234567890, 12 345 678 901, 3.14159-26535",
        "+12 345 678 901 234 567 890 123, a+1234567890, 1 + 2345678901",
        'password = "aaaaaaaaaaaaaaaaaaaaaaaa", token = getTokenFromTheServer(x), key: 12345678901234567890',
        "eyJ is not all, and AKIA neither; -----BEGIN PUBLIC KEY-----",
    ],
)
def test_kept(text: str) -> None:
    assert masked(text) == text


def test_code_has_no_telephones() -> None:
    assert masked("dial(+4420 79460958) # me@example.com", "code") == "dial(+4420 79460958) # <EMAIL>"


def test_counts() -> None:
    texts = ["a@b.com c@d.org 93.184.216.34", "nothing", "+44 20 7946 0958"]
    table = pa.table({"source": ["s"] * 3, "text": pa.array(texts, pa.large_string())})
    note = PersonalData({"s": "prose"}).annotate(table, "", Path())
    assert note["masked"].to_pylist() == [[("email", 2), ("ip", 1)], None, [("phone", 1)]]
    assert note["dropped"].null_count == 3
    assert len(PersonalData({}).annotate(table.slice(0, 0), "", Path())) == 0


PIECES = [
    "a@b.com",
    "+44 20 7946 0958",
    "93.184.216.34",
    "token=",
    JWT,
    PEM,
    "q8Zr4Lw0Vx7Nt2Kd9Fb3",
    " ",
    ".",
    "x",
    "한",
    "-----",
]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_findings_do_not_overlap(text: str) -> None:
    found = sorted(find(text))
    assert all(start < end for start, end, _ in found)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))


def test_a_hint_never_hides_a_finding() -> None:
    """A text that the quick expression passes over has nothing for the careful one."""
    for text in PIECES:
        found = Counter(kind for *_, kind in find(text))
        assert {kind.name: masked(text).count(f"<{kind.name.upper()}>") for kind in KINDS} == {
            kind.name: found[kind.name] for kind in KINDS
        }


HOSTILE = [
    *("a", "a@", "a.", "a@a.", "a@a-", "1", "1.", "+1 ", " 2", "(234) ", "234-", "tel 1", "tel 1 "),
    *("2001:", "-", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJaaaaaaaaa.", "xoxb-", "AKIA", "ghp_"),
    *(
        "token",
        "token=",
        "secret:'",
        "DE89",
        "DE89 ",
        "4111 ",
        "12345",
        "sk-",
        "sk-proj-",
        "Tel. 0 ",
        "06 ",
        "0171 ",
        "::",
        "a:",
    ),
    *("ü@", "é.", "한@", "(0", "0/", "8 (", "AAAAAA85T", "SG.", "123.", "1 55 "),
]


SIZE, LIMIT = 400_000, 60
"""Characters of a hostile text, and seconds of the processor's time for one: it takes half a second."""
JUDGE = """
import resource
from palmetto.corpus.rules.personal_data import find
from tests.corpus.rules.personal_data.test_finding import HOSTILE, LIMIT, SIZE

for piece in HOSTILE:
    print(piece, flush=True)
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + LIMIT, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    for _ in find(piece * (SIZE // len(piece))):
        pass
"""


@pytest.mark.slow
def test_hostile_texts_are_judged_at_all() -> None:
    """An expression that backtracks would need minutes for any of them, and is ended by SIGXCPU."""
    judged = subprocess.run([sys.executable, "-c", JUDGE], stdout=subprocess.PIPE, text=True, check=False)
    assert judged.returncode == 0, f"ended by {judged.returncode} at {judged.stdout.splitlines()[-1]!r}"
    assert judged.stdout.splitlines() == HOSTILE
