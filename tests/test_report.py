"""The page of results, as text and in a browser."""

import html
import json
import re
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from diversity_by_design.errors import InputError
from diversity_by_design.running.index import write_index
from diversity_by_design.running.results import ResultFolder

SPECIAL = "Pearson(Δ) < 0 & \"R²\" > '1' <script>alert(1)</script>"
FRAME = pd.DataFrame({"perturbation": ["A<B", "C+D"], "n_<p>": [64, 12], "mse": [0.123456789, np.nan]})
CAPTIONS = {
    "scores": {"caption": SPECIAL},
    "all_points": {"caption": "Every point"},
    "long": {"caption": "Long."},
    "*": {"title": "{title}", "caption": SPECIAL, "paper": "2D/E"},
}


def open_analysis(folder: Path, name: str = "2_sweeps", title: str = "Sweeps") -> ResultFolder:
    dataset = SimpleNamespace(
        name=folder.name, path=folder, checksum="sha256:0123", report={"left_out": ["E", "F"], "n_cells": 7}
    )
    return ResultFolder(
        folder / name,
        analysis=name,
        title=title,
        dataset=dataset,
        seed=3,
        parameters={"grid": [1, 2, 3]},
        captions=CAPTIONS,
    )


def add_figure(analysis: ResultFolder, name: str = "bias", title: str = SPECIAL) -> None:
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.plot([0, 1], [0, 1])
    analysis.figure(name, figure, {"points": FRAME}, title=title)


@pytest.fixture
def results(tmp_path) -> Path:
    """Folder of a data set with one finished analysis, one interrupted, and a file that is none of ours."""
    folder = tmp_path / "demo"
    done = open_analysis(folder)
    done.note(SPECIAL)
    done.table("scores", FRAME, show=True)
    done.table("all_points", FRAME)
    add_figure(done)
    add_figure(done, "again", "Second figure")
    done.finish()
    add_figure(open_analysis(folder, "3_niche", "Niche signals"))
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    return folder


def test_page_shows_figures_tables_and_how_they_were_made(results):
    index = write_index(results, expected={"2_sweeps": "Sweeps", "5_models": "Models"})
    assert index == results / "index.html"
    page = index.read_text(encoding="utf-8")
    assert page.count("<figure ") == 3
    assert page.count("paper: figure 2D/E") == 6  # contents and caption of each
    assert 'href="2_sweeps/bias.pdf"' in page
    assert 'href="2_sweeps/bias_points.csv"' in page
    assert 'href="2_sweeps/all_points.csv"' in page
    assert "Every point" in page
    for fact in ("sha256:0123", "1, 2, 3", "E, F", np.__version__, "Seed</dt><dd>3</dd>"):
        assert fact in page
    assert '<td class="number">0.1235</td>' in page
    assert '<td class="number">–</td>' in page
    assert page.count("<tbody>") == 1  # only the table that is to be shown
    assert "mine" not in page


def test_every_link_leads_to_a_file_or_a_place_on_the_page(results):
    page = write_index(results).read_text(encoding="utf-8")
    places = set(re.findall(r'\bid="([^"]+)"', page))
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) > 10
    for link in links:
        assert link[1:] in places if link.startswith("#") else (results / link).is_file(), link


def test_text_is_escaped(results):
    page = write_index(results).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "A&lt;B" in page
    assert ">n_<wbr>&lt;p&gt;</th>" in page
    escaped = "Pearson(Δ) &lt; 0 &amp; &#34;R²&#34; &gt; &#39;1&#39; &lt;script&gt;"
    alternative = re.findall(r'<img [^>]*alt="([^"]*)"', page)
    assert len(alternative) == 3
    assert all(escaped in text for text in alternative[:1])
    assert escaped in re.findall(r"<caption>(.*?)</caption>", page, re.DOTALL)[0]


def test_page_refers_to_nothing_outside(results):
    page = write_index(results).read_text(encoding="utf-8")
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link", without_pictures)


@pytest.mark.parametrize(("name", "warns"), [("demo", True), ("norman19", False)])
def test_synthetic_data_are_called_so(tmp_path, name, warns):
    open_analysis(tmp_path / name).finish()
    assert ("This data set is synthetic" in write_index(tmp_path / name).read_text(encoding="utf-8")) == warns


def test_what_is_not_complete_is_named(results):
    (results / "2_sweeps" / "again.pdf").unlink()
    page = write_index(
        results, expected={"4_gears": "Training", "5_models": "Models"}, failed={"3_niche": 2, "5_models": 1}
    ).read_text(encoding="utf-8")
    contents = html.unescape(re.sub(r"\s+", " ", re.search("<nav.*?</nav>", page, re.DOTALL)[0]))
    assert re.search('Sweeps</a> <span class="status">incomplete<', contents)
    assert re.search('Niche signals</a> <span class="status">failed with exit code 2<', contents)
    assert re.search('Training <span class="status">not run<', contents)
    assert re.search('Models <span class="status">failed with exit code 1<', contents)
    assert "Files that it wrote but that are gone: again.pdf." in page
    assert page.count("<figure ") == 2
    assert contents.index("Sweeps") < contents.index("Niche") < contents.index("Training") < contents.index("Models")


def test_preparation_is_told_once_and_different_inputs_are_pointed_out(results):
    page = write_index(results).read_text(encoding="utf-8")
    assert page.count("<dt>left out</dt>") == 1
    assert "did not all run on the same data" not in page
    run = json.loads((results / "3_niche" / "run.json").read_text())
    run["input"]["checksum"] = "sha256:other"
    (results / "3_niche" / "run.json").write_text(json.dumps(run))
    page = write_index(results).read_text(encoding="utf-8")
    assert page.count("<dt>left out</dt>") == 2
    assert "did not all run on the same data" in page


def test_long_tables_are_shown_in_part_and_say_so(tmp_path):
    analysis = open_analysis(tmp_path / "demo")
    analysis.table("long", pd.DataFrame({"n": range(1000)}), show=True)
    page = write_index(tmp_path / "demo").read_text(encoding="utf-8")
    assert "The first 60 of 1000 rows." in page
    assert page.count("<tr>") == 61


def test_picture_that_is_none_is_refused(results):
    (results / "2_sweeps" / "bias.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"bias\.png is not a PNG picture"):
        write_index(results)


def test_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path):
    page = write_index(tmp_path / "demo", expected={"2_sweeps": "Sweeps"}).read_text(encoding="utf-8")
    assert 'Sweeps <span class="status">not run</span>' in page


def test_every_picture_loads_in_a_browser(results, open_in_browser):
    seen = open_in_browser(write_index(results).read_text(encoding="utf-8"))
    assert len(seen["pictures"]) == 3
    for picture in seen["pictures"]:
        assert picture["whole"]
        assert picture["width"] == 450  # 3 inches at 150 dpi
        assert picture["shown"] == pytest.approx(290, abs=3)  # 3 inches on a screen, and the frame
    assert seen["refused"] == []
    assert seen["pageWidth"] <= seen["windowWidth"]


def test_broken_pictures_would_be_noticed(results, open_in_browser):
    """One with a damaged body, one that was cut off, one that is none; the fourth still loads."""
    add_figure(open_analysis(results, "4_more", "More"))
    cut = results / "3_niche" / "bias.png"
    cut.write_bytes(cut.read_bytes()[:-2000])
    path = results / "2_sweeps" / "bias.png"
    content = path.read_bytes()
    header = content[:33]  # the signature, and the size
    assert struct.unpack(">I", header[29:33])[0] == zlib.crc32(header[12:29])
    path.write_bytes(header + b"\x00" * 200)
    page = write_index(results).read_text(encoding="utf-8")
    last = page.rindex('src="data:')
    page = page[:last] + 'src="data:image/png;base64,AAAA' + page[page.index('" width', last) :]
    assert [picture["whole"] for picture in open_in_browser(page)["pictures"]] == [False, True, False, False]


def test_request_to_elsewhere_would_be_noticed(results, open_in_browser):
    page = write_index(results).read_text(encoding="utf-8")
    seen = open_in_browser(page.replace("<main>", '<main><img src="away.png" alt="">'))
    assert not seen["pictures"][0]["whole"]
    assert len(seen["refused"]) == 1


def test_long_labels_do_not_widen_a_table(tmp_path):
    folder = tmp_path / "long"
    analysis = open_analysis(folder)
    labels = ["A" * 1000, "drug (with a description of many words, each of them short, so that lines can break)"]
    analysis.table("scores", pd.DataFrame({"perturbation": labels, "mse": [0.1, 0.2]}), show=True)
    analysis.finish()
    write_index(folder)
    page = (folder / "index.html").read_text()
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert max(len(word) for cell in cells for word in cell.split()) <= 60
    assert "AAA…AAA" in page and labels[1] in page
    assert labels[0] in (folder / "2_sweeps/scores.csv").read_text()
