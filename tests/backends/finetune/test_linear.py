import torch

from backends.finetune import linear


def clouds(count: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    middles = torch.eye(4).repeat(1, 3)[:, :10]
    noise = torch.randn(count, 10, generator=chance) * spread
    scales = torch.logspace(-3, 3, 10)  # features of very different size
    return (middles[labels] + noise) * scales + 5 * scales, labels


def accuracy(fit: linear.Fit, features: torch.Tensor, labels: torch.Tensor) -> float:
    return float(((features @ fit.weight.T + fit.bias).argmax(-1) == labels).float().mean())


def test_it_separates_clouds_whatever_their_scale() -> None:
    features, labels = clouds(400, 0.2)
    fit = linear.fit(features, labels, 4, seed=1)
    assert accuracy(fit, *clouds(400, 0.2, seed=1)) > 0.98


def test_it_agrees_with_scikit_learn_at_its_strength() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = clouds(300, 0.6)
    fit = linear.fit(features, labels, 4, seed=1)
    scaled = (features - features.mean(0)) / features.std(0)
    theirs = LogisticRegression(C=1 / (fit.strength * 300), tol=1e-8, max_iter=2000)
    theirs.fit(scaled.numpy(), labels.numpy())
    ours = (features @ fit.weight.T + fit.bias).softmax(-1)
    torch.testing.assert_close(
        ours, torch.tensor(theirs.predict_proba(scaled.numpy())).float(), atol=5e-3, rtol=0
    )


def test_noise_asks_for_more_regularisation_than_order() -> None:
    noisy = linear.fit(*clouds(200, 3.0), 4, seed=1).strength
    clear = linear.fit(*clouds(2000, 0.3), 4, seed=1).strength
    assert noisy > clear


def test_one_row_a_class_is_enough() -> None:
    features, labels = clouds(4, 0.1)
    assert accuracy(linear.fit(features, labels, 4, seed=1), features, labels) == 1.0
