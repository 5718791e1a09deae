"""Names of inputs and features that text preprocessing, encoders and tasks agree on."""

TOKEN_IDS = "token_ids"
PADDING_MASK = "padding_mask"
SEGMENT_IDS = "segment_ids"
WORD_STARTS = "word_starts"
SEQUENCE = "sequence"
MASK = "mask"
TOKEN_TABLE = "token_table"
CANDIDATES = "candidates"


def after_key(task: str) -> str:
    """Return the key of what a head reads of another task, among its features."""
    return f"after/{task}"


def stages_key(feature: str) -> str:
    """Return the key of the outputs of all stages that belong to a feature."""
    return f"{feature}_stages"


def key_of(part: str, feature: str) -> str:
    """Return the key of what belongs to a sequence among features, `MASK` or `WORD_STARTS`.

    Each belongs to one feature: "mask" to "sequence", and "<feature>_mask" to any other.
    """
    return part if feature == SEQUENCE else f"{feature}_{part}"
