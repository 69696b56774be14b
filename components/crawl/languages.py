"""The table of languages: what a file is written in, by its name.

The set is the union of two published ones: the extensions that GPT-Code-Clippy keeps at load time
(code_clippy_filter.py) and the languages of CodeParrot's multi-language set, with the extensions of
BigCode's table (language_selection/programming-languages-to-file-extensions.json) where they are
unambiguous. Python has no `.pyi`: a stub's bodies are all `...`, nothing to learn to write.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """A language and the files it is written in."""

    name: str
    extensions: tuple[str, ...]
    file_names: tuple[str, ...] = ()


LANGUAGES = (
    Language("Assembly", (".asm", ".nasm", ".s")),
    Language("Batchfile", (".bat", ".cmd")),
    Language("C", (".c", ".h")),
    Language("C#", (".cs", ".csx")),
    Language(
        "C++", (".cpp", ".c++", ".cc", ".cxx", ".h++", ".hh", ".hpp", ".hxx", ".inl", ".C", ".H")
    ),
    Language("CMake", (".cmake",), ("CMakeLists.txt",)),
    Language("CSS", (".css",)),
    Language("Clojure", (".clj", ".cljc", ".cljs")),
    Language("Common Lisp", (".lisp", ".lsp", ".asd")),
    Language("Cuda", (".cu", ".cuh")),
    Language("Cython", (".pyx", ".pxd", ".pxi")),
    Language("Dart", (".dart",)),
    Language("Dockerfile", (".dockerfile",), ("Dockerfile", "Containerfile")),
    Language("Elixir", (".ex", ".exs")),
    Language("Erlang", (".erl", ".hrl")),
    Language("F#", (".fs", ".fsi", ".fsx")),
    Language("FORTRAN", (".f", ".f77", ".f90", ".f95", ".f03", ".f08", ".for")),
    Language("Go", (".go",)),
    Language("Groovy", (".groovy", ".gradle"), ("Jenkinsfile",)),
    Language("HTML", (".html", ".htm", ".xhtml")),
    Language("Haskell", (".hs",)),
    Language("Java", (".java",)),
    Language("JavaScript", (".js", ".mjs", ".cjs", ".jsx")),
    Language("Julia", (".jl",)),
    Language("Kotlin", (".kt", ".kts")),
    Language("Lua", (".lua",)),
    Language("Makefile", (".mak", ".mk"), ("Makefile", "GNUmakefile", "makefile")),
    Language("Markdown", (".md", ".markdown")),
    # `.m` is MATLAB's too; by name alone the commoner one is taken, as GPT-CC's list does.
    Language("Objective-C", (".m", ".mm")),
    Language("OCaml", (".ml", ".mli")),
    Language("PHP", (".php", ".phtml")),
    Language("Perl", (".pl", ".pm", ".t")),
    Language("PowerShell", (".ps1", ".psd1", ".psm1")),
    Language("Python", (".py", ".py3", ".pyw")),
    Language("R", (".r",), (".Rprofile",)),
    Language("Ruby", (".rb", ".gemspec", ".rake"), ("Gemfile", "Rakefile")),
    Language("Rust", (".rs",)),
    Language("SQL", (".sql",)),
    Language("Scala", (".scala", ".sbt", ".sc")),
    Language("Shell", (".sh", ".bash", ".zsh", ".ksh")),
    Language("Swift", (".swift",)),
    Language("TeX", (".tex", ".sty", ".ltx")),
    Language("TypeScript", (".ts", ".tsx", ".mts", ".cts")),
    Language("Visual Basic", (".vb", ".bas", ".vba", ".vbs")),
    Language("Zig", (".zig",)),
)

NAMES = frozenset(language.name for language in LANGUAGES)

PYTHON = ("Python",)
"""PyCodeGPT's preset: one language."""

GPT_CC = (
    "C",
    "C#",
    "C++",
    "CSS",
    "Common Lisp",
    "Dart",
    "F#",
    "FORTRAN",
    "Go",
    "Groovy",
    "HTML",
    "Haskell",
    "Java",
    "JavaScript",
    "Julia",
    "Kotlin",
    "Lua",
    "Objective-C",
    "PHP",
    "Perl",
    "Python",
    "R",
    "Ruby",
    "Rust",
    "SQL",
    "Scala",
    "Shell",
    "Swift",
    "TypeScript",
)
"""GPT-Code-Clippy's preset: the languages of the extensions in its load-time filter."""

_BY_FILE_NAME = {name: one.name for one in LANGUAGES for name in one.file_names}
_BY_EXTENSION = {ending: one.name for one in LANGUAGES for ending in one.extensions}


def language_of(path: str) -> str | None:
    """The language of a file by its name, None where the table has none.

    A whole file name wins over an extension, and an extension as written (`.C` is C++) over the
    same in lower case.
    """
    name = path.rpartition("/")[2]
    if name in _BY_FILE_NAME:
        return _BY_FILE_NAME[name]
    stem, dot, ending = name.rpartition(".")
    if not stem:
        return None
    extension = dot + ending
    return _BY_EXTENSION.get(extension) or _BY_EXTENSION.get(extension.lower())
