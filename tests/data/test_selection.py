import pytest

from rffr_jax.data.selection import select_examples
from rffr_jax.data.specs import load_dataset
from rffr_jax.errors import UserError
from rffr_jax.synthetic.dataset import SyntheticDataset


def test_examples_are_selected_in_the_order_given():
    dataset = SyntheticDataset(0, "test")
    count = len(dataset.examples)
    backwards = select_examples(dataset, range(count - 1, -1, -1))
    assert list(backwards.examples) == list(dataset.examples)[::-1]
    assert (backwards.load(2, 16) == dataset.load(count - 3, 16)).all()
    assert select_examples(dataset, range(count)) is dataset


def test_at_most_so_many_images_of_a_person(tmp_path):
    people = ["Ann", "Bob", "Ann", "Ann", "Bob", "Ann", "Ann"]
    rows = [f"{n}.png,0,{person}" for n, person in enumerate(people)]
    (tmp_path / "faces.csv").write_text("\n".join(["path,label,group", *rows]))
    kept = load_dataset(f"csv:{tmp_path}/faces.csv?group_limit=2")
    assert [example.id for example in kept.examples] == ["1.png", "2.png", "4.png", "5.png"]
    (tmp_path / "faces.csv").write_text("path,label\n0.png,0\n1.png,0\n")
    with pytest.raises(UserError, match="group_limit=2, and no image says which group"):
        load_dataset(f"csv:{tmp_path}/faces.csv?group_limit=2")
