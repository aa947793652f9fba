"""What the rows of the advice say about a run's own data: the same rows, the same thresholds."""

from knowledge import rules

PAIRS = "preference_pairs"
RULES = {"dpo": "no-preferences", "reward-model": "nothing-to-reward"}
FIRST = "examples-before-preferences"


def too_few(method: str, pairs: int) -> list[str]:
    """What the advice says to so few pairs, in one line, or nothing."""
    rule = rules.find(RULES[method])
    enough = next((clause.below for clause in rule.when if clause.fact == PAIRS), None)
    if enough is None or pairs >= enough:
        return []
    says = rule.says.format(**{PAIRS: f"{pairs:,}"})
    return [f"{says} (advice: {enough:,.0f} or more; rule {rule.id}, {rule.source})"]


def examples_first() -> str:
    """Why a model is taught to answer before its answers are compared."""
    return rules.find(FIRST).says
