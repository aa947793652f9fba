"""Names that people give to columns, shapes and speakers, and what they mean here."""

# For each role its usual column names, the likeliest first.
TEXT: tuple[str, ...] = (
    *("text", "sentence", "utterance", "document", "content", "body", "review", "comment"),
    *("message", "query", "description", "abstract", "tweet"),
)
LABEL: tuple[str, ...] = (
    *("label", "category", "intent", "class", "labels", "sentiment", "topic", "label_text"),
    *("tag", "target", "y"),
)
PROMPT = ("prompt", "question", "instruction", "query", "input", "source", "context")
COMPLETION: tuple[str, ...] = (
    *("completion", "answer", "response", "output", "target", "reply", "expected", "answers"),
)
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "bio", "labels", "pos_tags", "ner")
SPANS = ("spans", "entities", "annotations", "extractions")
HISTORY = ("history",)
SYSTEM = ("system", "system_prompt")
TOOLS = ("tools",)
INSTRUCTION = ("instruction",)
INPUT = ("input",)
OUTPUT = ("output", "response")
INSTANCES = ("instances",)
MESSAGES = ("messages", "conversation", "dialogue")
CONVERSATIONS = ("conversations", "conversation")
CHOSEN = ("chosen", "preferred", "accepted")
REJECTED = ("rejected", "dispreferred")
RESPONSES = ("responses", "completions", "candidates")
RANKING = ("ranking", "rankings", "ranks", "rank")
GOOD = ("label", "kto_tag", "good")

ROLES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
}


def plain(name: str) -> str:
    """A column name without case, and with spaces and dashes as underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


KNOWN_COLUMNS = frozenset(
    TEXT + LABEL + PROMPT + COMPLETION + HISTORY + SYSTEM + TOOLS + OUTPUT + INSTANCES
    + MESSAGES + CONVERSATIONS + CHOSEN + REJECTED + RESPONSES + RANKING + GOOD + TOKENS + TAGS
    + SPANS + ("id",)
)  # fmt: skip
