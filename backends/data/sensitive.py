"""Secrets and personal data in texts: counted by kind, never repeated.

Patterns of the issuers' own documented forms; numbers with a check digit are checked by it. A text
without a hit may still hold some: names and addresses have no form to know them by.
"""

import re
from collections.abc import Callable, Iterator

SECRETS = ("private key", "AWS access key", "GitHub token", "Slack token", "API key", "password")


def sensitive(text: str) -> dict[str, int]:
    """How often each kind of secret or personal datum stands in a text; kinds found only."""
    found: dict[str, int] = {}
    for kind, pattern, check in _KINDS:
        number = sum(1 for match in pattern.finditer(text) if check(match.group()))
        if number:
            found[kind] = number
    return found


def masked(text: str) -> tuple[str, dict[str, int]]:
    """The text with each secret or personal datum replaced by its kind, and how often each was.

    A name such as `<e-mail address>` stands in its place, so the sentence keeps its form.
    """
    found: dict[str, int] = {}
    for kind, pattern, check in _KINDS:

        def replaced(
            match: re.Match[str], kind: str = kind, check: Callable[[str], bool] = check
        ) -> str:
            if not check(match.group()):
                return match.group()
            found[kind] = found.get(kind, 0) + 1
            return f"<{kind}>"

        text = pattern.sub(replaced, text)
    return text, found


def _always(_: str) -> bool:
    return True


def _luhn(number: str) -> bool:
    """Source: ISO/IEC 7812-1, annex B."""
    digits = [int(one) for one in number if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(number: str) -> bool:
    """Source: ISO 13616, its check by ISO/IEC 7064 mod 97-10."""
    plain = number.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in turned)) % 97 == 1


def _social_security(number: str) -> bool:
    """Source: https://www.ssa.gov/employer/randomization.html (numbers never assigned)."""
    area, group, serial = number.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _kinds() -> Iterator[tuple[str, re.Pattern[str], Callable[[str], bool]]]:
    for kind, pattern, check in (
        ("private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----", _always),
        ("AWS access key", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b", _always),
        ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})\b", _always),
        ("Slack token", r"\bxox[abprs]-[A-Za-z0-9-]{10,}", _always),
        ("API key", r"\b(?:sk|rk|pk)[-_](?:[a-z]+[-_])*[A-Za-z0-9]{20,}\b", _always),
        (
            "password",
            r"(?i)\b(?:password|passwd|secret_key|api_key)\b\s*[=:]\s*[\"'][^\"'\s]{6,}[\"']",
            _always,
        ),
        ("e-mail address", r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+", _always),
        ("payment card", r"(?<![\d.-])\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,7}(?![\d-])", _luhn),
        ("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", _iban),
        ("US social security number", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", _social_security),
        ("telephone number", r"(?<![\w+.])\+\d{1,3}(?:[ ().-]{0,2}\d){7,12}(?!\d)", _always),
    ):
        yield kind, re.compile(pattern), check


_KINDS = tuple(_kinds())
