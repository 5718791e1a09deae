"""Names of inputs and features that text preprocessing, encoders and tasks agree on."""

TOKEN_IDS = "token_ids"
PADDING_MASK = "padding_mask"
SEGMENT_IDS = "segment_ids"
WORD_STARTS = "word_starts"
