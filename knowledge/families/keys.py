"""Reading the keys of a model's `config.json`: absent keys get the family's defaults, and every
fault names the key."""

from collections.abc import Mapping
from typing import Any

from knowledge.errors import UserError


class Keys:
    """The keys of one configuration.

    A `config.json` may leave out whatever equals its class's default, so defaults are the
    family's own and stand in `knowledge.families.defaults`; null counts as left out.
    """

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.family = str(config.get("model_type"))
        present = {key: value for key, value in config.items() if value is not None}
        self._values: dict[str, Any] = {**defaults, **present}

    def has(self, *names: str) -> bool:
        """Is any of the keys there?"""
        return any(name in self._values for name in names)

    def count(self, *names: str, default: int | None = None) -> int:
        """A positive whole number under the first of the names that is there.

        Raises:
            UserError: it is needed and absent, or it is no positive whole number.
        """
        value = self._first(names, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self._wrong(names[0], value, "a positive whole number")
        return value

    def count_or_zero(self, name: str, default: int = 0) -> int:
        """Like `count`, but 0 is allowed."""
        value = self._first((name,), default)
        return 0 if value == 0 and not isinstance(value, bool) else self.count(name)

    def whole(self, name: str, default: int) -> int:
        """A whole number, negative ones too (DeBERTa's -1 is off)."""
        value = self._first((name,), default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, value, "a whole number")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._first((name,), default)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def share(self, *names: str, default: float = 0.0) -> float:
        """A number from 0 to 1, such as a dropout probability or a part of a head."""
        value = self._first(names, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self._wrong(names[0], value, "a number from 0 to 1")
        return float(value)

    def word(self, *names: str, default: str) -> str:
        """A word, such as the name of an activation."""
        value = self._first(names, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(names[0], value, "a word")
        return value

    def items(self, name: str) -> list[Any]:
        """A list; empty where it is absent."""
        value = self._first((name,), [])
        if not isinstance(value, list | tuple):
            raise self._wrong(name, value, "a list")
        return list(value)

    def words(self, name: str) -> list[str]:
        """Words, as a list or as one text with bars between; empty where it is absent."""
        value = self._first((name,), [])
        return value.split("|") if isinstance(value, str) else [str(v) for v in self.items(name)]

    def part(self, name: str) -> Mapping[str, Any]:
        """A nested object; empty where it is absent."""
        value = self._first((name,), {})
        if not isinstance(value, Mapping):
            raise self._wrong(name, value, "an object")
        return value

    def quotient(self, name: str, over: str, value: int, divisor: int) -> int:
        """One key's value over another's, without remainder.

        Raises:
            UserError: there is a remainder.
        """
        if value % divisor:
            raise UserError(
                f"a {self.family} config has {name} {value}, which {over} {divisor} does not "
                "divide; correct one of them"
            )
        return value // divisor

    def _first(self, names: tuple[str, ...], default: Any) -> Any:
        for name in names:
            if name in self._values:
                return self._values[name]
        if default is None:
            raise UserError(
                f"a {self.family} config needs the key {names[0]!r} and has none; add it"
            )
        return default

    def _wrong(self, name: str, value: Any, wanted: str) -> UserError:
        return UserError(f"a {self.family} config has {name} {value!r}; give {wanted}")
