"""How neural heads are trained: many small networks of one shape in one computation, each as if it were alone."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn.functional import cross_entropy
from torch.optim.adam import adam

from nonverbal.evaluation.heads.settings import NeuralSettings
from nonverbal.evaluation.heads.stacks import called, filled, only, stacked
from nonverbal.models.drawn import drawn_from
from nonverbal.seeding import Stream, generator, torch_seed

INITIAL, ORDER, DROPOUT = range(3)
"""Purposes of random draws: initial weights; the order of clips, by epoch; dropout, by step."""

CACHE_BYTES, GPU_BYTES = 2**24, 2**32
"""Largest size of the weights, gradients and moments of all networks in one computation: half of a CPU's cache, because
beyond it training one network after another is faster, and what a GPU can spare."""

FEWEST = 8
"""Smallest number of networks in one computation on a CPU: fewer are trained one after another as plain modules, which
is then faster."""

Gather = Callable[[Sequence[Any], Sequence[np.ndarray]], tuple[Tensor, ...]]
"""Takes the features of each network's job, and equally many rows for each; returns the inputs of the networks, tensors
``(networks, rows, ...)``."""


class Network(nn.Module):
    """A head's network."""

    dropped: Sequence[int] = ()
    """Widths of the layers to which dropout is applied, in their order."""
    decide_rows: int = 256
    """Number of clips that are decided on at once."""
    over_frames: bool = False
    """Whether those layers have values for each frame; frames are then the second-to-last dimension of the first
    input."""

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)``.

        Args:
            inputs: ``(clips, ...)`` each, as the head's ``Gather`` returns them for one job.
            kept: for each layer of ``dropped`` the factors of its values, ``(clips, width)`` or ``(clips, frames,
                width)``, which are 0 for dropped values. None: no dropout.
        """
        raise NotImplementedError

    def losses(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None, answers: Tensor) -> Tensor:
        """Return the loss of each clip, ``(clips,)``, to be minimised: cross entropy, unless a head overrides it.

        Args:
            inputs: as for ``forward``.
            kept: as for ``forward``.
            answers: classes, ``(clips,)`` int64.
        """
        return cross_entropy(self(inputs, kept), answers, reduction="none")

    def details(self) -> dict[str, Any]:
        """Return further facts for scores, besides the number of parameters."""
        return {}


class _Losses(nn.Module):
    """The losses of a network as a module's ``forward``, because only that can be called with other weights."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None, answers: Tensor) -> Tensor:
        return self.network.losses(inputs, kept, answers)


@dataclass(eq=False)
class Unit:
    """A network to train, and its data."""

    network: Network
    """With its initial weights and, after training, its final ones."""
    features: Any
    """Features of its job, in the form that the head's ``Gather`` takes."""
    labels: np.ndarray
    """Classes of all clips of its job, ``(clips,)`` int64."""
    train: np.ndarray
    """Rows that it is trained on, ``(rows,)`` int64."""
    test: np.ndarray
    """Rows that it decides on at the end of each epoch; may be empty."""
    epochs: int
    seed: int
    horizon: int
    """Number of epochs over which the learning rate decays, even if training ends earlier."""
    stopped: bool = False
    """Set this to end its training after the current epoch."""
    decided: list[np.ndarray] = field(default_factory=list)
    """Its decisions on ``test`` after each epoch."""
    wanted: bool = False
    """Set this while the unit is yielded to store the weights of the epoch; it is reset once they are stored."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """The weights that were stored last."""
    _order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
    """The last epoch for which a batch was requested, and the order of its rows."""

    @cached_property
    def balance(self) -> np.ndarray:
        """The weight of a clip of each class if all classes have equal weight, ``(classes,)``."""
        weights: np.ndarray = 1 / np.bincount(self.labels[self.train])
        return weights

    def steps(self, batch: int) -> int:
        """Return the number of steps of an epoch."""
        return -(-len(self.train) // batch)

    def batch(self, step: int, size: int) -> np.ndarray:
        """Return the rows of a step, at most ``size``."""
        epoch, place = divmod(step, self.steps(size))
        if epoch != self._order[0]:
            drawn = generator(self.seed, Stream.HEAD, ORDER, epoch).permutation(len(self.train))
            self._order = epoch, self.train[drawn]
        return self._order[1][place * size : (place + 1) * size]


def build(make: Callable[[], Network], seed: int) -> Network:
    """Make a network whose initial weights depend only on ``seed``."""
    with drawn_from(seed, INITIAL, stream=Stream.HEAD):
        return make()


def together(parameters: int, device: torch.device) -> int:
    """Return how many networks of ``parameters`` parameters are trained in one computation, if there are enough."""
    if device.type != "cpu":
        return max(1, GPU_BYTES // (16 * parameters))
    fitting = CACHE_BYTES // (16 * parameters)
    return fitting if fitting >= FEWEST else 1


def at_a_time(units: int, parameters: int, device: torch.device) -> int:
    """Return how many of ``units`` networks are trained in one computation; on a CPU, one if there are only a few."""
    return 1 if device.type == "cpu" and units < FEWEST else min(units, together(parameters, device))


def train(units: Sequence[Unit], gather: Gather, settings: NeuralSettings, device: torch.device) -> Iterator[Unit]:
    """Train units in one computation, and yield each one whenever it has completed an epoch and decided.

    Each takes the steps that it would take alone: its clips in an order drawn by its seed and the epoch, ``batch`` at a
    time; dropout drawn by its seed and the step; the learning rate of its own step. Computing several together only
    changes the rounding. A unit ends after its epochs, or if ``stopped`` is set while it is yielded; its weights are
    stored if ``wanted`` is set then.
    """
    stack, step = _Stack(units, gather, settings, device), 0
    while stack.units:
        stack.learn(step)
        step += 1
        ended = [number for number, unit in enumerate(stack.units) if step % unit.steps(settings.batch) == 0]
        stack.decide([number for number in ended if len(stack.units[number].test)])
        yield from [stack.units[number] for number in ended]
        stack.keep([number for number in ended if stack.units[number].wanted])
        stack.release({number for number in ended if _is_done(stack.units[number], step, settings.batch)})


def _is_done(unit: Unit, step: int, batch: int) -> bool:
    return unit.stopped or step >= unit.epochs * unit.steps(batch)


class _Stack:
    """The networks of units, with their weights and moments stacked: ``(units, ...)``."""

    def __init__(self, units: Sequence[Unit], gather: Gather, settings: NeuralSettings, device: torch.device) -> None:
        self.units, self.gather, self.settings, self.device = list(units), gather, settings, device
        self.network = units[0].network if len(units) == 1 else copy.deepcopy(units[0].network).to("meta")
        parameters, buffers = stack_module_state([unit.network for unit in units])
        self.parameters = {name: value.detach().to(device) for name, value in parameters.items()}
        self.buffers = {name: value.to(device) for name, value in buffers.items()}
        self.means = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self.squares = {name: torch.zeros_like(value) for name, value in self.parameters.items()}
        self._share()

    def learn(self, step: int) -> None:
        """Take one step with each unit."""
        rows = [unit.batch(step, self.settings.batch) for unit in self.units]
        longest = max(map(len, rows))
        # Beyond a unit's own rows its first row is repeated, with weight 0.
        padded = [filled(own, longest, own[0]) for own in rows]
        inputs = self.gather([unit.features for unit in self.units], padded)
        answers = stacked([unit.labels[own] for unit, own in zip(self.units, padded, strict=True)])
        weights = stacked([self._weights(unit, own, longest) for unit, own in zip(self.units, rows, strict=True)])
        losses = self._losses(inputs, self._kept(step, inputs, longest), torch.from_numpy(answers).to(self.device))
        loss = losses.flatten() @ torch.from_numpy(weights).to(self.device).flatten()
        # The fused Adam assumes that gradients have the memory layout of the weights.
        found = [value.contiguous() for value in torch.autograd.grad(loss, list(self.leaves.values()))]
        self._update(step, found if self.plain is None else [value[None] for value in found])

    def decide(self, numbers: Sequence[int]) -> None:
        """Append, for the units with these numbers, their decisions on their test rows."""
        if not numbers:
            return
        units = [self.units[number] for number in numbers]
        longest = max(len(unit.test) for unit in units)
        padded = [filled(unit.test, longest, unit.test[-1]) for unit in units]
        parts = []
        for start in range(0, longest, self.network.decide_rows):
            own = [rows[start : start + self.network.decide_rows] for rows in padded]
            with torch.no_grad():
                logits = self._logits(self.gather([unit.features for unit in units], own), numbers)
            parts.append(logits.argmax(dim=2).cpu().numpy())
        for unit, decided in zip(units, np.concatenate(parts, axis=1), strict=True):
            unit.decided.append(decided[: len(unit.test)])

    def keep(self, numbers: Sequence[int]) -> None:
        """Copy the weights of the units with these numbers to the units."""
        for number in numbers:
            unit = self.units[number]
            unit.weights = {name: value.clone() for name, value in self._of(number).items()}
            unit.wanted = False

    def release(self, numbers: set[int]) -> None:
        """Copy the weights of the units with these numbers to the units, and stop training them."""
        if not numbers:
            return
        for number in numbers:
            self.units[number].network.to("cpu").load_state_dict(self._of(number))
        rest = [number for number in range(len(self.units)) if number not in numbers]
        self.units = [self.units[number] for number in rest]
        for tensors in (self.parameters, self.buffers, self.means, self.squares):
            tensors.update({name: value[rest] for name, value in tensors.items()})
        self._share()

    def _share(self) -> None:
        """Make ``leaves``, for which gradients are computed and which share the memory of ``parameters``.

        For a single unit they are those of its network itself, which takes half the time of ``functional_call``.
        """
        self.plain: Network | None = None
        if len(self.units) == 1:
            self.plain = self.units[0].network.to(self.device)
            self.plain.load_state_dict({name: value[0] for name, value in (self.parameters | self.buffers).items()})
            self.leaves = dict(self.plain.named_parameters())
            self.parameters = {name: value.detach()[None] for name, value in self.leaves.items()}
        else:
            self.leaves = {name: value.detach().requires_grad_() for name, value in self.parameters.items()}

    def _of(self, number: int) -> dict[str, Tensor]:
        """Return the ``state_dict`` of a unit's network."""
        return {name: value[number] for name, value in (self.parameters | self.buffers).items()}

    def _weights(self, unit: Unit, rows: np.ndarray, longest: int) -> np.ndarray:
        """Return the weight of each row in the loss, which is a weighted mean."""
        weights = unit.balance[unit.labels[rows]] if self.settings.weigh_classes else np.ones(len(rows))
        return filled((weights / weights.sum()).astype(np.float32), longest, 0)

    def _kept(self, step: int, inputs: tuple[Tensor, ...], rows: int) -> list[Tensor] | None:
        """Return the factors of dropout, ``(units, rows, ...)`` for each layer."""
        if not self.settings.dropout or not self.network.dropped:
            return None
        frames = inputs[0].shape[-2] if self.network.over_frames else None
        drawn = {seed: self._factors(seed, step, frames) for seed in {unit.seed for unit in self.units}}
        layers = range(len(self.network.dropped))
        return [
            torch.stack([drawn[unit.seed][layer][:rows] for unit in self.units]).to(self.device) for layer in layers
        ]

    def _factors(self, seed: int, step: int, frames: int | None) -> list[Tensor]:
        share, batch = self.settings.dropout, self.settings.batch
        factors = []
        for layer, width in enumerate(self.network.dropped):
            source = torch.Generator().manual_seed(torch_seed(seed, Stream.HEAD, DROPOUT, step, layer))
            # Frame by frame, so that a frame's draws do not depend on how many frames follow.
            noise = torch.rand((frames or 1, batch, width), generator=source).transpose(0, 1)
            kept = (noise >= share) / (1 - share)
            factors.append(kept if frames else kept[:, 0])
        return factors

    def _losses(self, inputs: tuple[Tensor, ...], kept: list[Tensor] | None, answers: Tensor) -> Tensor:
        """Return the losses ``(units, rows)`` of all units."""
        if self.plain is not None:
            return self.plain.losses(only(inputs), kept and only(kept), answers[0])[None]
        state = {f"network.{name}": value for name, value in (self.leaves | self.buffers).items()}
        return called(_Losses(self.network), state, inputs, kept, answers)

    def _logits(self, inputs: tuple[Tensor, ...], numbers: Sequence[int]) -> Tensor:
        """Return the logits ``(units, rows, classes)`` of the units with these numbers, without dropout."""
        if self.plain is not None:
            own: Tensor = self.plain(only(inputs), None)
            return own[None]
        state = self.leaves | self.buffers
        if len(numbers) < len(self.units):
            state = {name: value[list(numbers)] for name, value in state.items()}
        return called(self.network, state, inputs, None)

    def _update(self, step: int, gradients: Sequence[Tensor]) -> None:
        """Take a step of Adam: for all units at once if they have the same learning rate, otherwise one by one."""
        batch = self.settings.batch
        rates = [self.settings.rate_of(step, unit.horizon * unit.steps(batch)) for unit in self.units]
        names = list(self.parameters)
        kinds = [self.parameters, dict(zip(names, gradients, strict=True)), self.means, self.squares]
        if len(set(rates)) == 1:
            self._adam(step, rates[0], *([kind[name] for name in names] for kind in kinds))
            return
        for number, rate in enumerate(rates):
            self._adam(step, rate, *([kind[name][number] for name in names] for kind in kinds))

    def _adam(
        self,
        step: int,
        rate: float,
        weights: list[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
    ) -> None:
        adam(
            weights,
            gradients,
            means,
            squares,
            [],
            list(torch.full((len(weights),), float(step), device=self.device).unbind()),
            fused=True,
            amsgrad=False,
            beta1=self.settings.betas[0],
            beta2=self.settings.betas[1],
            lr=rate,
            weight_decay=self.settings.weight_decay,
            eps=self.settings.eps,
            maximize=False,
        )
