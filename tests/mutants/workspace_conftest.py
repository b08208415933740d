"""The workspace's conftest.py: no servers, and the same examples for every mutant."""

from hypothesis import Phase, settings

settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # whether a mutant dies matters, and not by which smallest example
)
settings.load_profile("mutants")
