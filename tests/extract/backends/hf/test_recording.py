"""Whole tensors of a pass, and passes in which some are replaced."""

import torch

from actlas.extract.backends.hf.recording import Texts, record, replaced

CPU = torch.device("cpu")


class Net(torch.nn.Module):
    """Two maps, the second of which changes what the first gave."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(2, 2, bias=False)
        self.second = torch.nn.Identity()
        self.positions = torch.nn.Identity()

    def forward(self, values):
        hidden = self.first(values)
        hidden += 1.0
        self.positions(torch.ones(values.shape[1], 2))
        return self.second(hidden)


KEYS = [("first", "output"), ("second", "input"), ("positions", "output")]


def run(net, values):
    texts = Texts.of([[1, 2, 3], [4]], 0, CPU)
    return record(net, KEYS, (), texts, lambda _: net(values))


def test_what_is_kept_is_what_was_given_and_not_what_became_of_it():
    torch.manual_seed(0)
    net, values = Net(), torch.randn(2, 3, 2)
    recorded = run(net, values)
    torch.testing.assert_close(recorded.values["first", "output"], net.first(values))
    torch.testing.assert_close(recorded.at("second", "input"), (net.first(values) + 1)[recorded.texts.mask.bool()])
    assert recorded.at("first").shape == (4, 2)
    assert recorded.values["positions", "output"].shape == (2, 3, 2)
    assert set(recorded.n_reached.values()) == {1}


def test_values_are_replaced_within_and_not_after():
    net, values = Net(), torch.ones(2, 3, 2)
    other = torch.full((2, 3, 2), 5.0)
    before = net(values)
    with replaced(net, {("first", "output"): other}):
        assert (net(values) == 6.0).all()
    with replaced(net, {("second", "input"): other}):
        assert (net(values) == 5.0).all()
    torch.testing.assert_close(net(values), before)
    assert (other == 5.0).all()


def test_texts_are_filled_up_on_either_side():
    left = Texts.of([[5, 6], [7]], 9, CPU, side="left")
    assert left.token_ids.tolist() == [[5, 6], [9, 7]]
    assert left.mask.tolist() == [[1, 1], [0, 1]]
    assert Texts.of([[5, 6], [7]], 9, CPU).mask.tolist() == [[1, 1], [1, 0]]
