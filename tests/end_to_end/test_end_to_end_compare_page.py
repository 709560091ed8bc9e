"""The page of `twotower compare` in a browser without a window: a search of ten keys, narrow and wide."""

from pathlib import Path
from typing import Any

import pytest
from compare_runs import Users, write_run

from twotower.experiments.compare.comparison import compare
from twotower.experiments.compare.page import as_html

NUM_TRIALS = 14
SIZES = ((390, "light"), (1900, "dark"))
BROKEN_WORDS = """selector => [...document.querySelectorAll(selector)].flatMap(element => {
  const node = element.firstChild, range = document.createRange(), found = [];
  for (const word of node.textContent.matchAll(/\\S+/g)) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map(line => line.top)).size !== 1) found.push(word[0]);
  }
  return found;
})"""


def varied(number: int) -> dict[str, Any]:
    """Return what a trial sets."""
    share = (number + 1) / NUM_TRIALS
    return {
        "embedding_dim": 16 * (number + 1),
        "history.dropout": share / 2,
        "history.power": 1 - share / 3,
        "index": ("IVFPQ", "FlatIP")[number % 2],
        "loss.temperature": share,
        "objective.recency_half_life_days": 3.0**number,
        "optimizer.learning_rate": 10 ** (-4 * share),
        "user_tower.dropout": share / 4,
        "user_tower.input_dropout": share / 5,
        "user_tower.widths": [32 * (number + 1), 64],
    }


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a search whose every key has another value in each trial, with a note on each."""
    folder = tmp_path_factory.mktemp("pages")
    users = Users()
    for number in range(NUM_TRIALS):
        run = folder / "tpe-sweep" / f"{number:04d}_a_name_as_long_as_those_of_folders,of=trials_may_be"
        values = users.recall(0.7 + number / 50, number)
        changes = {**varied(number), "note": f"thought of {number}"}
        typed = [f"{key}={value}" for key, value in varied(number).items()]
        write_run(run, users, values, changes=changes, result={"overrides": typed})
    runs = sorted(path.parent for path in folder.glob("*/*/config.yaml"))
    (folder / "page.html").write_text(as_html(compare(runs, tests=False)), encoding="utf-8")
    return (folder / "page.html").as_uri()


def opened(page: Any, address: str, width: int, scheme: str = "light") -> Any:
    page.expected = "GPU stall"  # Chromium on a machine without a graphics card
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#table tbody tr")
    return page


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_nothing_is_wider_than_the_page_and_every_word_is_whole(
    page: Any, address: str, width: int, scheme: str
) -> None:
    opened(page, address, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in (".word", ".own"):
        assert page.locator(f"#table {part}").count() >= NUM_TRIALS
        assert page.evaluate(BROKEN_WORDS, f"#table {part}") == []
    overlaps = "texts => texts.filter(text => text.scrollWidth > text.clientWidth).length"
    assert page.locator("#table .name .text").evaluate_all(overlaps) == 0


def test_the_interval_is_never_under_the_verdict(page: Any, tmp_path: Path) -> None:
    users = Users()
    runs = [
        write_run(
            tmp_path / f"sweep/dim{16 * n},temp1.0,index={index}",
            users,
            users.recall(0.7 + n / 9, n),
            changes=varied(n) | {"index": index},
        )
        for n, index in ((1, "IVFPQ"), (2, "FlatIP"), (3, "IVFFlat"))
    ]
    (tmp_path / "page.html").write_text(as_html(compare(runs)), encoding="utf-8")
    opened(page, (tmp_path / "page.html").as_uri(), 1300)
    intervals = page.get_by_text("[", exact=False).and_(page.locator("#table tbody small"))
    assert intervals.count() == 2  # of three rows one is the baseline
    for row in page.locator("#table tbody tr").all():
        verdict = row.locator(".verdicts").bounding_box()
        assert verdict["x"] + verdict["width"] <= 1300
        for interval in row.locator("td.number small").all():
            shown = interval.bounding_box()
            assert shown["x"] + shown["width"] <= verdict["x"]


def test_what_differs_comes_first_and_columns_are_sorted_as_numbers(page: Any, address: str) -> None:
    opened(page, address, 1300)
    what, folder, note = page.locator("#table tbody .text").first.inner_text().splitlines()
    words = {"dim208", "IVFPQ", "widths[416,64]", "temp.929", "lr.000193", "power.69", "recency531441"}
    words |= {"history.dropout.464", "user_tower.dropout.232", "input_dropout.186"}
    assert all(word in what for word in words)
    assert (folder[:7], note) == ("0012_a_", "thought of 12")
    name = page.locator("#table tbody .name").first.bounding_box()
    verdict = page.locator("#table tbody .verdicts").first.bounding_box()
    assert 0 <= name["x"] < verdict["x"] < verdict["x"] + verdict["width"] <= 1300
    headings = [text for text in page.locator("#table thead th").all_inner_texts() if text]
    at = headings.index("recall@20")
    assert headings[1] == "what differs"
    assert headings[at - 1 : at + 3] == ["valid recall@20", "recall@20", "difference", "verdict"]
    page.select_option("#settings", "columns")
    heading = page.locator("#table thead th[title='optimizer.learning_rate']")
    place = heading.evaluate("cell => cell.cellIndex")
    heading.get_by_role("button").click()
    cells = page.locator(f"#table tbody td:nth-child({place + 1})").all_inner_texts()
    rates = [float(cell) for cell in cells]
    assert len(set(rates)) == NUM_TRIALS
    assert rates == sorted(rates, reverse=True)
