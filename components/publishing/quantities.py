"""Numbers as people read them: counts, sizes, shares."""

KILO = 1e3
MEGA = 1e6
GIGA = 1e9


def spell_count(number: float) -> str:
    """A count with three digits or more of it: 812, 54,331, 3.18 M, 13.1 B."""
    if abs(number) >= GIGA:
        return f"{number / GIGA:.3g} B"
    if abs(number) >= MEGA:
        return f"{number / MEGA:.3g} M"
    return f"{number:,.0f}"


def spell_bytes(size: float) -> str:
    """A size in decimal units: 812 B, 54.3 kB, 3.2 MB, 96.0 GB."""
    for unit, name in ((GIGA, "GB"), (MEGA, "MB"), (KILO, "kB")):
        if abs(size) >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:,.0f} B"


def spell_share(share: float, digits: int = 1) -> str:
    """A share of one as a percentage."""
    return f"{100 * share:.{digits}f} %"


def spell_files(files: int) -> str:
    """A count of files."""
    return f"{files:,} file" if files == 1 else f"{files:,} files"


def spell_seconds(seconds: float) -> str:
    """A duration: 0.4 s, 12 s, 3 min 20 s, 5 h 02 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours} h {minutes_rest:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ratio(part: float, whole: float) -> float:
    """A share; 0 of nothing is 0."""
    return part / whole if whole else 0.0
