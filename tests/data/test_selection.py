from rffr_jax.data.selection import select_examples
from rffr_jax.synthetic.dataset import SyntheticDataset


def test_examples_are_selected_in_the_order_given():
    dataset = SyntheticDataset(0, "test")
    count = len(dataset.examples)
    backwards = select_examples(dataset, range(count - 1, -1, -1))
    assert list(backwards.examples) == list(dataset.examples)[::-1]
    assert (backwards.load(2, 16) == dataset.load(count - 3, 16)).all()
    assert select_examples(dataset, range(count)) is dataset
