import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from palmetto.files import write_json, write_text
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from palmetto.training.report.page import write
from palmetto.workflow.report import write_report
from tests.references.report_runs import RunMaker, falling, spiking

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\x00\x1b[31m\f"


class Page(HTMLParser):
    """A parsed page: its tags with attributes, and the texts of its <pre> elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "rect"):
            self.open.append(tag)
        if tag == "pre":
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, "well nested"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "pre":
            self.blocks[-1] += data


def written(run: RunDirectory) -> str:
    write(run)
    return run.report.read_text()


def test_the_page_describes_the_run(make_run: RunMaker) -> None:
    page = written(make_run(spiking))
    for text in (
        "<h1>small</h1>",
        "34,560",
        "23,040",
        "8.100 → ",
        "4.500",
        "250 <small>tokens/s",
        "20.0%",
        "ab" * 32,
        "loss spike from step 70: back to step 50",
        "Perplexity",
        "peak: 0.01",
        "1 kWh, 0.475 kg CO2e, 2 h of 1 chip, measured by RAPL",
        "0.10.2",
        "palmetto verify small",
        "palmetto run small/recipe.yaml --run small-again",
    ):
        assert text in page
    assert 'class="status"' not in page
    assert page.count("<svg") == 1 + 2 + 9
    assert Page(page).open == []


@pytest.mark.parametrize("finished", [True, False])
def test_the_page_is_self_contained(make_run: RunMaker, finished: bool) -> None:
    page = written(make_run(spiking, finished=finished))
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    assert "//" not in page
    assert "@import" not in page
    for tag, attributes in Page(page).tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "xlink:href")
            assert name != "href" or (value or "").startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_reference_has_one_target(make_run: RunMaker) -> None:
    page = written(make_run(spiking))
    ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_hostile_text_is_escaped(make_run: RunMaker) -> None:
    run = make_run()
    write_text(run.samples, f"{HOSTILE}\n───── prompt\n{HOSTILE}\n───── {HOSTILE}\n{HOSTILE}\n")
    run.record_event(HOSTILE, text=HOSTILE)
    write_json(run.path / "environment.json", {HOSTILE: HOSTILE})
    write_text(
        run.recipe_file, run.recipe_file.read_text().replace("name: small", "name: '<img src=x onerror=alert(3)>'")
    )
    page = Page(written(run))
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert page.open == []
    shown = HOSTILE.replace("\x00", "␀").replace("\x1b", "␛").replace("\f", "␌")
    assert page.blocks[:2] == ["\n" + shown, "\n" + shown]


def test_white_space_of_samples_is_kept(make_run: RunMaker) -> None:
    run = make_run()
    write_text(run.samples, "Step 1\n───── prompt\n\n  It  was\n\n───── greedy\n\ta\n\n")
    assert Page(written(run)).blocks[:2] == ["\n\n  It  was\n", "\n\ta\n"], "browsers drop the first newline"


def test_bytes_that_are_not_text_are_shown(make_run: RunMaker) -> None:
    run = make_run()
    run.samples.write_bytes("Step 1\n───── prompt\n".encode() + b"caf\xc3\xa9 \xff\n")
    assert Page(written(run)).blocks[0] == "\ncafé �"


def test_samples_of_another_form_are_shown_completely(make_run: RunMaker) -> None:
    run = make_run()
    write_text(run.samples, "no prompts here\n")
    assert Page(written(run)).blocks[0] == "\nno prompts here\n"


def test_the_same_files_give_the_same_bytes(make_run: RunMaker) -> None:
    run = make_run(spiking)
    assert written(run) == written(run)


def test_the_page_of_an_unfinished_run_names_gaps(make_run: RunMaker) -> None:
    run = make_run(steps=25, finished=False)
    run.claim(loading.load(str(run.recipe_file), ["training.steps=120"]))
    page = written(run)
    assert "unfinished: step 25 of 120" in page
    assert "SHA-256 of parameters at step 20" in page
    for text in ("There is no samples.txt yet", "There is no environment.json", "written with the first summary.json"):
        assert text in page


@pytest.mark.parametrize("steps", [0, 1])
def test_a_run_that_has_hardly_begun_has_a_page(make_run: RunMaker, steps: int) -> None:
    run = make_run(steps=1, finished=False)
    if not steps:
        for file in (run.ledger, run.metrics, run.events):
            file.unlink()
    page = written(run)
    assert ("there is nothing to draw" in page) == (not steps)
    assert ("events.jsonl holds nothing" in page) == (not steps)
    assert "nothing can be said" in page


def test_a_run_with_only_nan_has_a_page(make_run: RunMaker) -> None:
    page = written(make_run(lambda step, attempt: math.nan, steps=5, finished=False))
    assert "steps 1 to 5: NaN or Inf" in page
    assert "NaN or Inf: parameters left as they were" in page, "the figure's key"
    assert "no number" in page


@pytest.mark.parametrize("eventful", [True, False])
def test_the_key_names_only_the_marks_in_use(make_run: RunMaker, eventful: bool) -> None:
    def loss(step: int, attempt: int) -> float:
        return 99.0 if step == 45 else math.nan if step == 50 else spiking(step, attempt)

    page = written(make_run(loss if eventful else falling))
    for mark in ("rolled back and trained again", "beyond the scale", "NaN or Inf: parameters left as they were"):
        assert (mark in page) == eventful


def test_a_rising_loss_is_reported_at_the_top(make_run: RunMaker) -> None:
    page = written(make_run(lambda step, attempt: falling(step, attempt) + max(0, step - 60) * 0.05))
    (status,) = re.findall(r'<p class="status">(.*?)</p>', page)
    assert re.match(r"the mean loss has risen from \d\.\d+ at step \d+ to \d\.\d+, little by little", status)


def test_neighbouring_skipped_steps_are_one_row(make_run: RunMaker) -> None:
    page = written(make_run(lambda s, a: math.nan if s in (19, 20, 21, 30) else falling(s, a)))
    assert "steps 19 to 21: NaN" in page
    assert "step 30: NaN" in page


def test_overflows_and_skipped_steps_have_separate_rows(make_run: RunMaker) -> None:
    run = make_run()
    for step, event in [(61, "overflow"), (62, "overflow"), (63, "skipped step"), (64, "overflow")]:
        run.record_event(event, text=f"step {step}: in its words", step=step)
    page = written(run)
    assert "steps 61 to 62: a gradient overflowed; parameters left as they were" in page
    assert "step 63: in its words" in page
    assert "step 64: in its words" in page


def test_a_lost_event_and_a_changed_machine_are_reported(make_run: RunMaker) -> None:
    run = make_run(spiking)
    told = run.events.read_text().splitlines(keepends=True)
    write_text(run.events, "".join(line for line in told if '"event": "rollback"' not in line))
    write_json(run.path / "environment.json", {"jaxlib": "0.9.9", "platform": "cpu"})
    page = written(run)
    assert "Rollback 1, from step 72 back to 50, is known from the ledger alone" in page
    assert "0.9.9 → 0.10.2" in page
    assert "not recorded → 8" in page


def test_an_event_without_text_shows_its_fields(make_run: RunMaker) -> None:
    run = make_run()
    run.record_event("environment", differing=["jaxlib 1 → 2"])
    assert "jaxlib 1 → 2" in written(run)


def test_a_page_can_be_written_to_another_file(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(spiking)
    at_home = written(run)
    run.report.unlink()
    before = sorted(run.path.rglob("*"))
    for out, file in ((tmp_path / "folder", tmp_path / "folder" / "report.html"), (tmp_path / "my.html",) * 2):
        assert write_report(run, print, out) == file
        assert file.read_text() == at_home
    assert sorted(run.path.rglob("*")) == before
