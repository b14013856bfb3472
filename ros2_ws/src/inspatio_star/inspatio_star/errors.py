"""Every error that the core raises on purpose; each message says what was wanted and what came."""


class InspatioError(Exception):
    """Root of the tree: catch it to catch whatever the core refuses."""


class CommandError(InspatioError, ValueError):
    """A motion command that cannot be obeyed; the motion goes on as if it had not come."""


class WorldError(InspatioError, ValueError):
    """A world folder, or what it was to be made from, that cannot be used."""


class SessionError(InspatioError, RuntimeError):
    """A session asked for something that it cannot do in its present state."""


class CheckpointError(InspatioError, ValueError):
    """Weights that are not those of the model that they were to fill."""


class PresetError(InspatioError, ValueError):
    """A name that no preset has, or a change that a preset cannot take."""
