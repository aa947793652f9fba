"""Published settings: of methods that exist, chosen by kind and size."""

from knowledge import hyperparameters, methods


def test_rows_are_of_known_methods_and_have_sources() -> None:
    for row in hyperparameters.table().values():
        for method in row.methods:
            assert methods.find(method).id == method
        assert "http" in row.source
        assert 1e-6 < row.learning_rate < 1e-1


def test_the_row_of_the_largest_size_reached_is_taken() -> None:
    small = hyperparameters.of("lora", "decoder", 8e9)
    large = hyperparameters.of("lora", "decoder", 7e10)
    assert small is not None and large is not None
    assert large.learning_rate < small.learning_rate
    assert hyperparameters.of("lora", "decoder", 1e7) is None
    assert hyperparameters.of("lora", "encoder", 1e9) is None
