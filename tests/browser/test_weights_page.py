"""The page of uploaded weights: added, trained on, refused and removed by a person."""

from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save_file

from tests.browser.conftest import Visitor, World
from trainer.modalities.image.encoders.parameter_shapes import Shapes, parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderSpec

pytestmark = pytest.mark.browser
SMALL = EncoderSpec(name="small", channels=3)


def weights_file(path: Path, shapes: Shapes) -> Path:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return path


def add(page: Page, file: Path, name: str) -> None:
    page.get_by_label("File of weights").set_input_files(file)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add", exact=True).click()


@pytest.fixture
def page(visitor: Visitor) -> Page:
    page = visitor.go("/ui/weights")
    page.locator("summary", has_text="Add weights").click()
    return page


def test_weights_are_added_trained_on_and_removed(
    page: Page, visitor: Visitor, world: World, tmp_path: Path
) -> None:
    """Deleted only after a yes, and not while a job began with them."""
    visitor.allowed.append("409")
    file = weights_file(tmp_path / "my encoder.safetensors", parameter_shapes(SMALL, side_px=32))
    page.get_by_label("File of weights").set_input_files(file)
    expect(page.get_by_label("Name")).to_have_value("my-encoder")
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("[data-weights=my-encoder]")
    expect(row.locator("[data-state=ready]")).to_be_visible()
    expect(row).to_contain_text("small3 channels")
    expect(row).to_contain_text("30 tensors")
    add(page, file, "my-encoder")
    expect(page.locator("#new-name-error")).to_have_text("This name is taken. Choose another one.")

    row.get_by_role("link", name="Train").click()
    expect(page.get_by_label("Weights", exact=True)).to_have_value("my-encoder")
    expect(page.locator("[data-field='encoder.name']")).to_contain_text(
        "small: the encoder that fits my-encoder"
    )
    job = world.submit(init_from={"weights": "my-encoder"}, pool="nobody")
    page = visitor.go("/ui/weights")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete my-encoder").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete my-encoder").click()
    expect(page.locator("[data-notice=problem]")).to_contain_text(job)
    world.api.client.post(f"/v1/jobs/{job}/cancel")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete my-encoder").click()
    expect(page.locator("[data-weights=my-encoder]")).to_have_count(0)


def test_a_fine_tune_begins_with_the_weights_of_a_row(
    page: Page, visitor: Visitor, tmp_path: Path
) -> None:
    visitor.allowed.append("422")  # the images are smaller than a patch, as the form then says
    vit = EncoderSpec(name="vit_tiny", channels=3, patch_px=16)
    file = weights_file(tmp_path / "vit.safetensors", parameter_shapes(vit, side_px=224))
    add(page, file, "vit")
    row = page.locator("[data-weights=vit]")
    expect(row).to_contain_text("vit_tinypatches of 16 px, positions for 224 px, 3 channels")
    row.get_by_role("link", name="Fine-tune").click()
    expect(page.get_by_label("Kind", exact=True)).to_have_value("finetune")
    expect(page.get_by_label("Weights", exact=True)).to_have_value("vit")
    expect(page.locator("main")).to_contain_text("8 px cannot be cut into patches of 16 px")


def test_what_is_no_file_of_weights_is_told_at_the_field_and_in_the_list(
    page: Page, visitor: Visitor, tmp_path: Path
) -> None:
    visitor.allowed.append("422")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#new-name-error")).to_have_text("Enter a name.")
    page.get_by_label("Name").fill("none")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#new-file-error")).to_have_text("Choose a file.")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights at all")
    add(page, bad, "bad")
    expect(page.locator("#new-file-error")).to_contain_text("no safetensors file of weights")
    row = page.locator("[data-weights=bad]")
    expect(row.locator("[data-state=failed]")).to_be_visible()
    expect(row).to_contain_text("Upload another file to them, or delete them.")
    other = weights_file(tmp_path / "other.safetensors", {"layers.0.weight": (2, 3)})
    add(page, other, "bad")
    expect(row.locator("[data-state=ready]")).to_be_visible()
    expect(row).to_contain_text("No known encoder")
    expect(row.get_by_role("link")).to_have_count(0)
