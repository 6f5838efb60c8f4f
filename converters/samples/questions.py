"""Painted scenes with questions whose answers follow from the scene: what the question answering fakes share."""

from __future__ import annotations

from dataclasses import dataclass

from converters.samples.noise import Rng

# Painted scene -> theme, what it holds, whether it is built up.
_SCENES = {
    "airplane": ("airport", "airplanes", True),
    "agricultural": ("farmland", "fields", False),
    "denseresidential": ("residential", "buildings", True),
    "forest": ("forest", "trees", False),
    "harbor": ("port", "ships", True),
    "parkinglot": ("parking", "cars", True),
    "river": ("river", "trees", False),
    "storagetanks": ("storagetanks", "storage tanks", True),
}
THINGS = tuple(dict.fromkeys(things for _, things, _ in _SCENES.values()))


@dataclass(frozen=True)
class Scene:
    """A scene to paint and what is asked of it: `count` of `things`."""

    painter: str
    theme: str
    things: str
    urban: bool
    count: int

    def holds(self, things: str) -> bool:
        """Whether the scene is said to contain `things`."""
        return things == self.things


def make_scene(rng: Rng, number: int) -> Scene:
    """The scene of image `number`; all painters come up in turn."""
    painter = list(_SCENES)[number % len(_SCENES)]
    theme, things, urban = _SCENES[painter]
    return Scene(painter, theme, things, urban, int(rng.integers(1, 40)))


def other_things(rng: Rng, scene: Scene) -> str:
    """Something that the scene does not contain."""
    return str(rng.choice([things for things in THINGS if things != scene.things]))


def yes_no(value: bool) -> str:
    """``yes`` or ``no``."""
    return "yes" if value else "no"
