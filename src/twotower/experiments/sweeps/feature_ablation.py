"""Feature ablation: a training with all features, and one without each of them."""

from twotower.config.errors import InputError
from twotower.experiments.sweeps.grid import Grid
from twotower.experiments.sweeps.sweep import SweepContext


class FeatureAblation(Grid):
    """Runs the settings as they are, and without each feature that the towers or new items read.

    Features that the towers require, such as the residual of a tower, are not left out. Varied keys and
    seeds repeat all jobs, and `cases` adds others.
    """

    def __init__(self, config: Grid.Config, context: SweepContext) -> None:
        self.required: dict[str, str] = {}
        super().__init__(config, context)

    def cases(self) -> list[tuple[str, ...]]:
        """Return no override, then the removal of each feature, then the cases of the YAML."""
        from twotower.training.training_config import TrainingConfig  # imports torch

        settings, removals = self.context.compose(self.context.fixed), []
        for key in TrainingConfig.from_settings(settings).read_features():
            try:
                self.context.compose([*self.context.fixed, f"~{key}"])
                removals.append((f"~{key}",))
            except InputError as error:
                self.required[key] = str(error).strip().splitlines()[-1].strip()
        if not removals:
            raise InputError(
                "sweep=features: the towers read no feature that can be left out; "
                "user_tower.widths=[] item_tower.widths=[] reads all features"
            )
        return [(), *removals, *super().cases()]

    def notes(self) -> list[str]:
        """Return lines on the features that are not left out."""
        return [f"always read  {key}: {why}" for key, why in self.required.items()]
