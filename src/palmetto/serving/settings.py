"""Holds the settings of a server: keys, a template, and limits that protect it and its clients from one client."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Holds the settings of a server."""

    queue: int = 256
    """The most choices of prompts that wait for their first token, for each model; more are refused with 429."""
    prompt: int = 1 << 20
    """The most tokens of a prompt; the model's own limit may be lower."""
    body: int = 4 << 20
    """The most bytes of a request's body."""
    tokens: int = 1 << 16
    """The most tokens to generate for a choice."""
    seconds: float = 600.0
    """The longest time that an answer may take; it ends with what it has then."""
    drain: float = 30.0
    """The seconds for which running requests may go on after SIGTERM."""
    stalled: float = 120.0
    """The seconds without a step, while there is work, after which the server calls itself unhealthy."""
    hosts: tuple[str, ...] = ()
    """The names by which clients may address the server, in lower case; empty for any."""
    keys: tuple[str, ...] = ()
    """The API keys, of which a client must have one; empty if everybody is served."""
    template: str | None = None
    """The Jinja template of chats; None for that of each model's recipe, or else a transcript."""
    watch: float = 10.0
    """The seconds after which the server looks again for a newer checkpoint."""
