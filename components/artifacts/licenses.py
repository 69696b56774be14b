"""SPDX licence expressions, as document rows carry them: whether an allow-list admits one."""

import re
from collections.abc import Collection, Set
from functools import lru_cache

_TOKEN = re.compile(r"\(|\)|[^\s()]+")
MAX_TOKENS = 200
"""A longer expression is none that a person wrote; it also bounds how deep parentheses go."""

PERMISSIVE_NAME = "permissive"
"""In an allow-list, this word stands for all of `PERMISSIVE`."""

_BLUE_OAK = """
    0BSD AAL Adobe-2006 ADSL AFL-1.1 AFL-1.2 AFL-2.0 AFL-2.1 AFL-3.0 Afmparse AMDPLPA AML AMPAS
    ANTLR-PD ANTLR-PD-fallback Apache-1.0 Apache-1.1 Apache-2.0 APAFML Artistic-1.0
    Artistic-1.0-cl8 Artistic-1.0-Perl Artistic-2.0 Bahyph Barr bcrypt-Solar-Designer Beerware
    blessing BlueOak-1.0.0 Borceux BSD-1-Clause BSD-2-Clause BSD-2-Clause-Darwin
    BSD-2-Clause-FreeBSD BSD-2-Clause-NetBSD BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause
    BSD-3-Clause-Attribution BSD-3-Clause-Clear BSD-3-Clause-HP BSD-3-Clause-LBNL
    BSD-3-Clause-Modification BSD-3-Clause-No-Nuclear-License-2014
    BSD-3-Clause-No-Nuclear-Warranty BSD-3-Clause-Open-MPI BSD-3-Clause-Sun BSD-4-Clause
    BSD-4-Clause-Shortened BSD-4-Clause-UC BSD-Source-Code BSL-1.0 bzip2-1.0.5 bzip2-1.0.6
    CC0-1.0 CECILL-B CFITSIO check-cvs ClArtistic Clips CNRI-Jython CNRI-Python
    CNRI-Python-GPL-Compatible Condor-1.1 Crossword CrystalStacker Cube curl diffmark DOC DSDP
    ECL-1.0 ECL-2.0 EFL-1.0 EFL-2.0 eGenix Entessa Fair FSFAP FSFUL FSFULLR FTL fwlw Giftware
    GLWTPL hdparm HPND HPND-export-US HPND-Fenneberg-Livingston HPND-sell-regexpr HTMLTIDY
    IBM-pibs ICU IJG IJG-short ImageMagick Info-ZIP Intel Intel-ACPI ISC Jam JasPer-2.0 Kazlib
    Leptonica Libpng libpng-2.0 libtiff Linux-OpenIB LPL-1.0 LPL-1.02 LPPL-1.3c LZMA-SDK-9.22
    McPhee-slideshow MirOS MIT MIT-0 MIT-advertising MIT-CMU MIT-enna MIT-feh MIT-Modern-Variant
    MIT-open-group MIT-testregex MIT-Wu MITNFA mpich2 MS-PL MTLL MulanPSL-1.0 MulanPSL-2.0
    Multics Mup NAIST-2003 NASA-1.3 Naumen NBPL-1.0 NCSA Net-SNMP NetCDF Newsletr NICTA-1.0
    NIST-Software NLPL NRL NTP NTP-0 OFFIS OGL-Canada-2.0 OGTSL OLDAP-1.1 OLDAP-1.2 OLDAP-1.3
    OLDAP-1.4 OLDAP-2.0 OLDAP-2.0.1 OLDAP-2.1 OLDAP-2.2 OLDAP-2.2.1 OLDAP-2.2.2 OLDAP-2.3
    OLDAP-2.4 OLDAP-2.5 OLDAP-2.6 OLDAP-2.7 OLDAP-2.8 OML OpenSSL PHP-3.0 PHP-3.01 Plexus
    PostgreSQL PSF-2.0 psutils Python-2.0 python-ldap Qhull Rdisc RSA-MD Ruby Saxpath SGI-B-2.0
    SHL-0.5 SMLNJ snprintf Spencer-86 Spencer-94 Spencer-99 SSH-short SunPro SWL Symlinks TCL
    TCP-wrappers TU-Berlin-1.0 TU-Berlin-2.0 UCAR Unicode-DFS-2015 Unicode-DFS-2016 UnixCrypt
    Unlicense UPL-1.0 Vim VSL-1.0 W3C W3C-19980720 W3C-20150513 Wsuipa WTFPL X11 Xerox Xfig
    XFree86-1.1 xinetd xlock Xnet xpp XSkat Zed Zend-2.0 Zlib zlib-acknowledgement ZPL-1.1
    ZPL-2.0 ZPL-2.1
"""
"""The licences that Blue Oak Council rates Model to Lead: its list, version 15 (npm @blueoak/list
15.0.0, CC0-1.0), the one that The Stack's selection began with (arXiv 2211.15533)."""

PERMISSIVE = frozenset(_BLUE_OAK.split()) | {"LicenseRef-BSD"}
"""Every licence that asks for notices at most: the one list of the project. Ours adds what metadata
call `BSD` without saying how many clauses: each of its texts is in the list. Copyleft, the weak one
of MPL and LGPL too, and `unknown` are not. It is part of no identity: who changes it raises the
version of the steps whose output changes."""


def is_allowed(expression: str, allowed: Collection[str]) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone.

    `OR` needs one side, `AND` both, and binds tighter; an exception (`WITH`) only grants more, so
    its licence decides. What is no expression must stand in the list as it is. The word
    `permissive` in the list stands for `PERMISSIVE`.
    """
    return _is_allowed(expression, tuple(allowed))


@lru_cache(maxsize=4096)
def _is_allowed(expression: str, allowed: tuple[str, ...]) -> bool:
    names = _names(allowed)
    if expression.casefold() in names:
        return True
    tokens = _TOKEN.findall(expression)
    if not tokens or len(tokens) > MAX_TOKENS:
        return False
    try:
        verdict, rest = _either(tokens, names)
    except (IndexError, ValueError):
        return False
    return verdict and not rest


@lru_cache(maxsize=16)
def _names(allowed: tuple[str, ...]) -> frozenset[str]:
    listed = {one.casefold() for one in allowed}
    if PERMISSIVE_NAME in listed:
        listed = (listed - {PERMISSIVE_NAME}) | {one.casefold() for one in PERMISSIVE}
    return frozenset(listed)


def _either(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _both(tokens, allowed)
    while tokens and tokens[0].upper() == "OR":
        right, tokens = _both(tokens[1:], allowed)
        verdict = verdict or right
    return verdict, tokens


def _both(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    verdict, tokens = _single(tokens, allowed)
    while tokens and tokens[0].upper() == "AND":
        right, tokens = _single(tokens[1:], allowed)
        verdict = verdict and right
    return verdict, tokens


def _single(tokens: list[str], allowed: Set[str]) -> tuple[bool, list[str]]:
    """One licence, with its exception, or an expression in parentheses."""
    if tokens[0] == "(":
        verdict, rest = _either(tokens[1:], allowed)
        if rest[0] != ")":
            raise ValueError(f"expected a closing parenthesis, got {rest[0]!r}")
        return verdict, rest[1:]
    verdict, rest = tokens[0].casefold() in allowed, tokens[1:]
    if rest and rest[0].upper() == "WITH":
        rest = rest[2:]
    return verdict, rest
