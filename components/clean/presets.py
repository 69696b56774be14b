"""The published sets of rules, whole."""

from components.clean.config import CleanConfig


def pycodegpt() -> CleanConfig:
    """PyCodeGPT's rules for Python.

    From the CERT paper's text and its authors' account: lines >= 5, mean line <= 100, max line <=
    1000, alphanumeric rate >= 0.98 after comments below 0.5 are left out, files > 1 MB and
    generated or meaningless names dropped, licence comment at the head stripped, syntax checked.
    Of its two syntax checks only the parse is known well enough to repeat.
    """
    return CleanConfig(
        languages=("Python",),
        max_bytes=1_000_000,
        strip_license_header=True,
        min_lines=5,
        max_mean_line_length=100.0,
        max_line_length=1000,
        min_alphanumeric_share=0.98,
        alphanumeric_of="printable_ascii",
        min_comment_alphanumeric_share=0.5,
        syntax_version="3.11",
    )


def gpt_cc() -> CleanConfig:
    """GPT-Code-Clippy's rules for every language: two shares, and nothing else.

    From its data pipeline: digits / characters <= 0.8, characters / newlines <= 200; no licence,
    generated-file, longest-line or syntax rule.
    """
    return CleanConfig(
        languages=(),
        excluded_names=(),
        licenses=(),
        max_bytes=0,
        generated_markers=(),
        generated_lines=0,
        strip_license_header=False,
        min_lines=0,
        max_mean_line_length=0.0,
        max_line_length=0,
        max_chars_per_newline=200.0,
        max_digit_share=0.8,
        min_alphanumeric_share=0.0,
        min_comment_alphanumeric_share=0.0,
        syntax_version="",
    )
