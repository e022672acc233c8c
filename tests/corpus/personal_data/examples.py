"""Examples of personal data, and of what only looks alike; `python -m tests.corpus.personal_data.examples` prints recall
and precision by kind. Nothing here belongs to anyone: numbers are reserved, made up, or published as samples."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

Find = Callable[[str], Iterable[tuple[int, int, str]]]
A, D = "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8", "0123456789abcdef"
K = A * 4


def mark(kind: str, *values: str, around: str = "Here is {} now.") -> list[str]:
    """Sentences in which each value is marked as of a kind."""
    return [around.format(f"⟦{kind}:{value}⟧") for value in values]


EXAMPLES = [
    *mark("email", "jane.doe+x@mail.example.co.uk", "JOHN@EXAMPLE.COM", "info@museum.museum", "a_b@host.photography",
          "kontakt@müller.de", "jürgen@müller.example.berlin", "x@xn--mller-kva.de", "почта@пример.рф", "ivan@yandex.ru",
          "o'neil@example.ie", "me@sub.dept.example.edu", "hello@startup.io", "team@thing.ai", "sales@SHOP.XYZ",
          "user%tag@example.org", "info@例子.中国", "dev@foo.technology", "kim@example.kr"),
    "메일은 ⟦email:kim@example.kr⟧입니다", "联系 ⟦email:wang@example.com.cn⟧。", "<a href='mailto:⟦email:b@c.fr⟧'>",
    "logo@2x.png and icon@3x.svg", "git@github.com:owner/name.git", "a @ b, foo@bar, user@localhost, @decorator.name",
    "systemctl start getty@tty1.service", "lodash@4.17.21 and react@next", "see x@y.z", "root@server.local",
    *mark("phone", "+44 20 7946 0958", "+1 (415) 555-2671", "(415) 555-2671", "415-555-2671", "010-1234-5678",
          "020 7946 0958", "(020) 7946 0958", "01632 960983", "(01632) 960 983", "07700 900123", "0121 496 0123", "07700 900 982",
          "01 42 68 53 00", "06.12.34.56.78", "06-12-34-56-78", "0612345678",
          "030/1234567", "(030) 1234567", "0171 1234567", "089 / 12 34 56 78", "0221-4567890", "040 123 456 78",
          "138 1234 5678", "13812345678", "010-62345678", "021-6234 5678", "138-1234-5678",
          "8 (495) 123-45-67", "8-916-123-45-67", "8 800 555-35-35", "+7 495 123 45 67",
          "(11) 91234-5678", "(21) 2345-6789", "11 91234-5678", "+55 11 91234-5678",
          "(02) 5550 1234", "0491 570 156", "1800 975 711", "02 5550 1234",
          "912 34 56 78", "612 345 678", "91 234 56 78", "+34 612 345 678", "600-123-456",
          "06 1234 5678", "02 12345678", "333 1234567", "347 123 4567", "055 1234567",
          "98765 43210", "098765 43210", "022-23456789", "+91 98765 43210", "011-2345 6789", "080 2345 6789"),
    *mark("phone", "555 12 34 56", "123.45.67", "(495) 1234567", "040 1234567", around="Tel.: {} (office)"),
    "Тел. ⟦phone:123-45-67⟧", "ТЕЛЕФОН: ⟦phone:(812) 765-43-21⟧", "電話：⟦phone:03-1234-5678⟧", "전화번호 ⟦phone:02-345-6789⟧",
    "手机：⟦phone:139 1234 5678⟧", "Tél : ⟦phone:01 42 68 53 00⟧", "Móvil: ⟦phone:612345678⟧", "Fax ⟦phone:1234 5678⟧",
    "on 2019-01-02 or 02.01.2019 or 12-11-2019 at 12:34:56", "12.04.1961, 4/12/1961, 1961/04/12, 20190102",
    "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, ISBN 0306406152, ISSN 0317-8471", "1234567890, 12 345 678 901, 3.14159-26535",
    "a population of 612 345 678 people", "it cost 912 345 000 euros, or € 712 345 678", "pages 01 02 03 04 05", "1990 1991 1992 1993",
    "0.123456789 and 1.6180339887", "order 2019-000123-45", "200 300 400 500", "RFC 2616, ISO 8601-1:2019, DIN 5008",
    "from 1914-1918 and 1939-1945", "lat 48.8566, lon 2.3522", "123-456-7890123", "49 27 18 36", "hotel 1234567", "the years 1200 1300 1400",
    "| 100 200 300 | 612 100 200 | 734 900 100 | 945 900 777 |", "0xdeadbeef 0755 0644", "x = 0123 4567", "9 8 7 6 5 4 3 2 1",
    "+12 345 678 901 234 567 890 123, a+1234567890, 1 + 2345678901", "timestamp 1700000000, 1700000000000", "$1,234,567.89",
    *mark("ip", "93.184.216.34", "203.1.112.9", "8.8.104.104", "185.199.108.153", "2a00:1450:4001:81b::200e",
          "2606:2800:220:1:248:1893:25c8:1946", "2A00:1450:4001:081B:0000:0000:0000:200E", "::ffff:93.184.216.34",
          "2001:4860:4860::8888", "2620:0:ccc::2"),
    "host ⟦ip:5.9.12.61⟧ is up", "⟦ip:23.45.67.89⟧ - - [10/Oct/2000:13:55:36] \"GET /\"", "http://⟦ip:12.34.56.78⟧/x", "at ⟦ip:18.12.33.4⟧:8080",
    "from ⟦ip:2606:2800:220:1:248:1893:25c8:1946⟧: connection closed", "[⟦ip:2a00:1450:4001:81b::200e⟧]:443, ⟦ip:2001:4860:4860::8844⟧/64.",
    "Python 3.10.12.1 and OpenSSL 1.1.1.23", "3.10.12.1", "version 1.24.103.4, v10.20.30.40, 4.0.3.2", "Chrome/114.0.0.0 Safari/14.1.2.3",
    "nginx/1.21.6.101", "Firefox 102.0.1.2.3", "kernel 5.15.0.105", "release 2.13.44.5", "upgrade to 4.19.12.7 soon", "1.2.3.4 5.6.7.8",
    "127.0.0.1, 192.168.10.20, 10.20.30.40, 0.0.0.0, 224.0.0.251, 300.200.100.1", "fe80::1, ::1, 2001:db8::1, std::vector, 12:30:45:10",
    "Foo::Bar a::b dead::beef c0de::cafe", "1.1.1.1.1", "§ 12.34.56.78", "package==19.12.30.1", "MAC 00:1a:2b:3c:4d:5e",
    *mark("key", f"sk-{K[:48]}", f"sk-proj-{K[:60]}", f"sk-ant-api03-{K[:80]}", f"hf_{K[:34]}", f"glpat-{K[:20]}", f"npm_{K[:36]}",
          f"SG.{K[:22]}.{K[:43]}", f"ghp_{K[:36]}", f"github_pat_{K[:40]}", "AKIAIOSFODNN7EXAMPLE", f"AIza{K[:35]}", f"xoxb-{K[:24]}",
          f"sk_live_{K[:24]}", f"pypi-AgEIcHlwaS5vcmc{K[:60]}", f"dop_v1_{D * 4}", f"shpat_{D * 2}", f"gsk_{K[:52]}", f"ya29.{K[:60]}",
          f"GOCSPX-{K[:28]}", f"dckr_pat_{K[:27]}", f"key-{D * 2}", f"{D * 2}-us12", f"123456789:AA{K[:33]}", f"SK{D * 2}"),
    "sk-learn and sk-1234, task-force, risk-free", "hf_hub_download and npm_config_registry", f"commit {D * 2}{D[:8]}", f"md5 {D * 2}",
    "gsk_reader, glpat-, SG.1.2, AKIA, eyJ", "-----BEGIN PUBLIC KEY-----", "sk-a-very-long-name-of-a-css-class-that-is-no-key",
    *mark("card", "4111 1111 1111 1111", "4012888888881881", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005",
          "6011111111111117", "30569309025904", "3530111333300000", "2223003122003222", "6200000000000005"),
    "4111 1111 1111 1112 and 4012888888881882", "0000 0000 0000 0000", "id 1234567890123456", "1234 5678 9012 3456 7890 1234",
    "5555555555554445", "9780306406157", "3.141592653589793", "4444 4444 4444 4444",
    *mark("iban", "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR14 2004 1010 0505 0001 3M02 606",
          "ES91 2100 0418 4502 0005 1332", "IT60X0542811101000000123456", "NL91ABNA0417164300", "CH9300762011623852957",
          "NO93 8601 1117 947", "BR1800360305000010009795493C1", "SA0380000000608010167519"),
    "⟦iban:DE89 3704 0044 0532 0130 00⟧ BIC COBADEFF", "DE88 3704 0044 0532 0130 00", "XX89 3704 0044 0532 0130 00", "GB29NWBK60161331926818",
    "AB12 CDEF 3456 GHIJ", "ISO27001 and DE10 2020",
    *mark("id", "529.982.247-25", "11010519491231002X", "12345678Z", "X1234567L", "2 55 08 14 168 025 38", "RSSMRA85T10A562S",
          "2341 2341 2346", "900101-1234568", "078-05-1120", "811218-9876", "131052-308T", "AB 12 34 56 C", "JG103759A"),
    "PESEL ⟦id:44051401359⟧", "PESEL: ⟦id:02070803628⟧",
    "529.982.247-26", "110105194912310021", "12345678A, X1234567M", "2 55 08 14 168 025 39", "RSSMRA85T10A562T", "2341 2341 2347",
    "811218-9877", "131052-308U", "PESEL 44051401358", "000-12-3456 and 900-12-3456", "20240101-1234", "111.111.111-11", "PART 12345678",
]  # fmt: skip


def parsed(example: str) -> tuple[str, set[tuple[int, int, str]]]:
    """A text without marks, and the spans that were marked."""
    text, spans = "", set()
    for piece in re.split(r"(⟦\w+:[^⟧]*⟧)", example):
        if piece.startswith("⟦"):
            kind, _, value = piece[1:-1].partition(":")
            spans.add((len(text), len(text) + len(value), kind))
            piece = value
        text += piece
    return text, spans


def measured(find: Find) -> dict[str, tuple[int, int, int]]:
    """By kind: how many there are, how many of them are found, and how much else is."""
    there: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for example in EXAMPLES:
        text, spans = parsed(example)
        found = set(find(text))
        there.update(kind for *_, kind in spans)
        right.update(kind for *_, kind in spans & found)
        wrong.update(kind for *_, kind in found - spans)
    return {kind: (there[kind], right[kind], wrong[kind]) for kind in there}


if __name__ == "__main__":
    from palmetto.corpus.personal_data import find

    print("| kind | examples | recall | precision |\n|---|---|---|---|")
    for name, (there, right, wrong) in measured(find).items():
        print(f"| {name} | {there} | {right / there:.0%} | {right / max(1, right + wrong):.0%} |")
