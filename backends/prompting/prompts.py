"""Messages out of templates, in jinja2's sandbox: what is fixed first, the item's text last.

That order keeps the beginning of all messages equal, which providers' caches pay for.
"""

from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.data import Message
from backends.prompting.exchange import Face
from knowledge.errors import UserError

# Prompts are no HTML: escaping would change the user's text.
_SANDBOX = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)

CLASSIFY = """\
{{ instruction }}

Labels:
{% for label in labels %}
- {{ label }}{{ ": " ~ definitions[label] if label in definitions else "" }}
{% endfor %}
{% for example in examples %}

Text: {{ example.text }}
Label: {{ example.target }}
{% endfor %}

Text: {{ text }}
{% if reasoning %}
Think step by step. Then end with one line: "Answer: " followed by the label.
{%- else %}
Label:
{%- endif %}"""

ANSWER = """\
{% if instruction %}
{{ instruction }}

{% endif %}
{% if schema %}
Answer with JSON alone, valid under this JSON schema:
{{ schema }}

{% elif pattern %}
The whole answer has to match this regular expression: {{ pattern }}

{% endif %}
{% for example in examples %}
{{ example.text }}

{{ example.target }}

{% endfor %}
{{ text }}
{%- if reasoning %}


Think step by step. Then end with one line: "Answer: " followed by the answer alone.
{%- endif %}"""

CLASSIFY_INSTRUCTION = (
    "Sort the text under the one label that fits it best. "
    "Answer with that label exactly as written, and nothing else."
)
CLASSIFY_REASONING = "Sort the text under the one label that fits it best."


class Example(msgspec.Struct, frozen=True):
    """A solved item shown to the model."""

    text: str
    target: str


class Prompt(msgspec.Struct, frozen=True):
    """All that a message is made of, except the item; saved as a step's artefact."""

    model: str
    template: str
    max_tokens: int
    instruction: str = ""
    system: str | None = None
    labels: tuple[str, ...] = ()
    definitions: dict[str, str] = {}
    examples: tuple[Example, ...] = ()
    temperature: float = 0.0
    schema: dict[str, Any] | None = None
    pattern: str | None = None
    reasoning: bool = False
    face: Face = "chat"

    def messages(
        self,
        text: str,
        before: tuple[Message, ...] = (),
        examples: tuple[Example, ...] | None = None,
        dropped: int = 0,
    ) -> tuple[Message, ...]:
        """The messages that ask about one text.

        Args:
            before: earlier turns of its conversation.
            examples: those for this text, where they are not the same for all.
            dropped: how many examples were left out to keep the message short.
        Raises:
            UserError: the template is broken or names something that is not there.
        """
        shown = self.examples if examples is None else examples
        asked = Message("user", rendered(self, text, shown, dropped))
        first = () if self.system is None else (Message("system", self.system),)
        return (*first, *before, asked)


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    """Compiling costs more than filling, and a run fills one template thousands of times."""
    return _SANDBOX.from_string(template)


def rendered(
    prompt: Prompt, text: str, examples: tuple[Example, ...] | None = None, dropped: int = 0
) -> str:
    """The template filled with one text."""
    values = {
        "text": text,
        "instruction": prompt.instruction,
        "labels": prompt.labels,
        "definitions": prompt.definitions,
        "examples": prompt.examples if examples is None else examples,
        "dropped": dropped,
        "reasoning": prompt.reasoning,
        "schema": "" if prompt.schema is None else msgspec.json.encode(prompt.schema).decode(),
        "pattern": prompt.pattern or "",
    }
    try:
        return _compiled(prompt.template).render(values)
    except TemplateSyntaxError as error:
        raise UserError(f"the template is broken at line {error.lineno}: {error.message}") from None
    except UndefinedError as error:
        raise UserError(f"the template: {error.message}; known: {', '.join(values)}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, OverflowError) as error:
        first = " ".join(str(error).split())[:160]
        raise UserError(f"the template cannot be filled: {first}") from None
