"""A pytest plugin: a failure of hypothesis is not made small, since only its presence counts."""

from hypothesis import Phase, settings

settings.register_profile("hurry", phases=[Phase.explicit, Phase.generate], database=None)
settings.load_profile("hurry")
