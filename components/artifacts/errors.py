"""The errors that a user can cause or mend, as one tree.

    CodekilnError                 base; a ValueError whose text is one line
    |-- ConfigError               a key or a value in a recipe, a flag or a config file
    |-- ArtifactError             what lies in a data root is not what was asked for
    |   |-- MissingArtifactError  no manifest there
    |   |-- CorruptArtifactError  a file is missing, truncated or altered
    |   `-- WrongKindError        a manifest of another kind or schema
    |-- StorageError              the store refuses: unknown scheme, no permission, disk full
    |-- ClusterError              the Kubernetes API refuses or does not answer
    |-- LeaseHeldError            another process is writing the same key
    |-- MissingExtraError         an optional dependency is not installed
    `-- StepFailedError           a step ended with an error of its own

Each text says what was expected, what came, where, and what to do next.
"""


class CodekilnError(ValueError):
    """An error to show to the user as one line, without a traceback."""


class ConfigError(CodekilnError):
    """A key or a value that a config does not take."""


class ArtifactError(CodekilnError):
    """An artifact that cannot be used."""


class MissingArtifactError(ArtifactError):
    """There is no manifest where an artifact was expected."""


class CorruptArtifactError(ArtifactError):
    """A file of an artifact is missing, truncated or altered."""


class WrongKindError(ArtifactError):
    """A manifest of another kind, or of a schema that this version does not read."""


class StorageError(CodekilnError):
    """The store refuses to read or write."""


class ClusterError(CodekilnError):
    """The Kubernetes API refuses, or does not answer."""


class LeaseHeldError(CodekilnError):
    """Another process holds the lease of the same key."""


class MissingExtraError(CodekilnError):
    """A step needs an optional dependency that is not installed."""


class StepFailedError(CodekilnError):
    """A step of a run ended with an error."""
