"""Facts that are shown of a dataset."""

from mocoserve.models import SideHistogram
from service.cli.render.dataset_view import BAR_LETTERS, sides_text


def test_each_bin_has_its_bounds_its_images_and_a_bar() -> None:
    sides = SideHistogram(edges_px=(2, 3, 4, 6, 8), rows=(1, 0, 6000, 3000))
    assert sides_text(sides).split("\n") == [
        "     2 px      1  █",
        "     3 px      0",
        "4 to 5 px  6,000  " + "█" * BAR_LETTERS,
        "6 to 7 px  3,000  " + "█" * (BAR_LETTERS // 2),
    ]


def test_images_of_one_size_have_one_line() -> None:
    text = sides_text(SideHistogram(edges_px=(3072, 4096), rows=(7,)))
    assert text == "3,072 to 4,095 px  7  " + "█" * BAR_LETTERS
